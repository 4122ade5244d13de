// Optional packages, which are loaded when a fleet is first used.
import { WbsrError } from '../errors.js'

async function load<T>(name: string, importing: () => Promise<T>): Promise<T> {
  try {
    return await importing()
  } catch (cause) {
    throw new WbsrError('WBSR_NOT_FOUND', `Expected the package ${name}, which a fleet needs: npm install ${name}`, {
      cause,
    })
  }
}

export type Bullmq = typeof import('bullmq')
export type S3 = typeof import('@aws-sdk/client-s3')
export type Prometheus = typeof import('prom-client')

export const loadBullmq = (): Promise<Bullmq> => load('bullmq', () => import('bullmq'))
export const loadS3 = (): Promise<S3> => load('@aws-sdk/client-s3', () => import('@aws-sdk/client-s3'))
export const loadPrometheus = (): Promise<Prometheus> => load('prom-client', () => import('prom-client'))
