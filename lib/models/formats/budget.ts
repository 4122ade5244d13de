// lib/files/read-budget.ts, for the readers in this folder.
export { damaged, ReadBudget } from '../../files/read-budget.js'
