// Eigen decomposition of a symmetric 1x1 or 3x3 matrix by cyclic Jacobi rotations, which are accurate to rounding and
// always converge. Host only, double precision; runs a few times per training step at most.
#pragma once
#include <cmath>

namespace wbsr::math {

// matrix: D x D, symmetric. values: in no particular order. vectors[d]: eigenvector d as a row.
template <int D>
void symmetricEigen(const double* matrix, double* values, double (*vectors)[D]) {
  double a[D][D];
  double scale = 0;
  for (int i = 0; i < D; ++i) {
    for (int j = 0; j < D; ++j) {
      a[i][j] = 0.5 * (matrix[i * D + j] + matrix[j * D + i]);
      vectors[i][j] = i == j ? 1 : 0;
      scale = std::fmax(scale, std::fabs(a[i][j]));
    }
  }
  for (int sweep = 0; sweep < 32; ++sweep) {
    double off = 0;
    for (int i = 0; i < D; ++i)
      for (int j = i + 1; j < D; ++j) off = std::fmax(off, std::fabs(a[i][j]));
    if (!(off > 1e-17 * scale)) break;
    for (int p = 0; p < D; ++p) {
      for (int q = p + 1; q < D; ++q) {
        if (a[p][q] == 0) continue;
        const double theta = (a[q][q] - a[p][p]) / (2 * a[p][q]);
        const double t = (theta < 0 ? -1 : 1) / (std::fabs(theta) + std::sqrt(theta * theta + 1));
        const double c = 1 / std::sqrt(t * t + 1), s = t * c;
        for (int k = 0; k < D; ++k) {  // columns p, q
          const double kp = a[k][p], kq = a[k][q];
          a[k][p] = c * kp - s * kq;
          a[k][q] = s * kp + c * kq;
        }
        for (int k = 0; k < D; ++k) {  // rows p, q, of the vectors as well
          const double pk = a[p][k], qk = a[q][k];
          a[p][k] = c * pk - s * qk;
          a[q][k] = s * pk + c * qk;
          const double vp = vectors[p][k], vq = vectors[q][k];
          vectors[p][k] = c * vp - s * vq;
          vectors[q][k] = s * vp + c * vq;
        }
      }
    }
  }
  for (int i = 0; i < D; ++i) values[i] = a[i][i];
}

}  // namespace wbsr::math
