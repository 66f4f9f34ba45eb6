// Operations on rows of numbers: RMS norms, squared ReLU. Forward and backward.
//
// Threads take blocks of rows cut by the number of rows alone; what is summed over rows is kept per block.
#include "rows.h"

extern "C" struct NormArgs {
  int64_t rows, width, group, blocks, threads;
  int64_t x_row, gate_row, y_row, dx_row, dgate_row;
  double eps;
  const void *x, *gate, *weight;  // no gate: null
  void* y;
  const void* dy;
  void *dx, *dgate, *dweight;  // dweight [blocks][width]
};

namespace {

constexpr int64_t AHEAD = 4;  // rows

template <class T, bool GATED> void norm_forward(const NormArgs& a) {
  constexpr int VL = LANES<T>;
#pragma omp parallel for schedule(static) num_threads(a.threads)
  for (int64_t r = 0; r < a.rows; r++) {
    const T* x = static_cast<const T*>(a.x) + r * a.x_row;
    const T* z = static_cast<const T*>(a.gate) + r * a.gate_row;
    const T* w = static_cast<const T*>(a.weight);
    T* y = static_cast<T*>(a.y) + r * a.y_row;
    if (GATED && r + AHEAD < a.rows) {
      expect(x + AHEAD * a.x_row, a.width), expect(z + AHEAD * a.gate_row, a.width);
      expect_written(y + AHEAD * a.y_row, a.width);
    }
    for (int64_t g = 0; g < a.width; g += a.group) {
      const int64_t end = g + a.group;
      const T squares = sum_of<T>(g, end, [&](int64_t i, int64_t count) {
        Vec<T> v = load_part(x + i, count);
        if constexpr (GATED) {
          const Vec<T> gate = load_part(z + i, count);
          v *= gate * sigmoid<T>(gate);
          store_part(y + i, v, count);
        }
        return v * v;
      });
      const T scale = T(1) / std::sqrt(squares / T(a.group) + T(a.eps));
      const T* v = GATED ? y : x;
      for (int64_t i = g; i < end; i += VL)
        store_part(y + i, load_part(v + i, end - i) * scale * load_part(w + i, end - i), end - i);
    }
  }
}

template <class T, bool GATED> void norm_backward(const NormArgs& a) {
  constexpr int VL = LANES<T>;
  const int64_t per_block = (a.rows + a.blocks - 1) / a.blocks;
#pragma omp parallel for schedule(static) num_threads(a.threads)
  for (int64_t block = 0; block < a.blocks; block++) {
    T* dw = static_cast<T*>(a.dweight) + block * a.width;
    std::fill(dw, dw + a.width, T(0));
    for (int64_t r = block * per_block; r < std::min(a.rows, (block + 1) * per_block); r++) {
      const T* x = static_cast<const T*>(a.x) + r * a.x_row;
      const T* z = static_cast<const T*>(a.gate) + r * a.gate_row;
      const T* w = static_cast<const T*>(a.weight);
      const T* dy = static_cast<const T*>(a.dy) + r * a.y_row;
      T* dx = static_cast<T*>(a.dx) + r * a.dx_row;
      T* dz = static_cast<T*>(a.dgate) + r * a.dgate_row;
      if (GATED && r + AHEAD < a.rows) {
        expect(x + AHEAD * a.x_row, a.width), expect(z + AHEAD * a.gate_row, a.width);
        expect(dy + AHEAD * a.y_row, a.width);
        expect_written(dx + AHEAD * a.dx_row, a.width), expect_written(dz + AHEAD * a.dgate_row, a.width);
      }
      for (int64_t g = 0; g < a.width; g += a.group) {
        const int64_t end = g + a.group;
        // In dx and dz: x * silu(z), and the sigmoid of z.
        auto value = [&](int64_t i, int64_t count) {
          Vec<T> v = load_part(x + i, count);
          if constexpr (GATED) {
            const Vec<T> gate = load_part(z + i, count), s = sigmoid<T>(gate);
            store_part(dz + i, s, count);
            v *= gate * s;
            store_part(dx + i, v, count);
          }
          return v;
        };
        const T squares = sum_of<T>(g, end, [&](int64_t i, int64_t count) {
          const Vec<T> v = value(i, count);
          return v * v;
        });
        const T* values = GATED ? dx : x;
        const T dots = sum_of<T>(g, end, [&](int64_t i, int64_t count) {
          return load_part(values + i, count) * load_part(w + i, count) * load_part(dy + i, count);
        });
        const T scale = T(1) / std::sqrt(squares / T(a.group) + T(a.eps));
        const T along = dots * scale * scale / T(a.group);
        for (int64_t i = g; i < end; i += VL) {
          const int64_t rest = end - i;
          const Vec<T> d = load_part(dy + i, rest), v = load_part(values + i, rest);
          Vec<T> out = (d * load_part(w + i, rest) - v * along) * scale;
          store_part(dw + i, load_part(dw + i, rest) + d * v * scale, rest);
          if constexpr (GATED) {
            const Vec<T> gate = load_part(z + i, rest), s = load_part(dz + i, rest);
            store_part(dz + i, out * load_part(x + i, rest) * s * (T(1) + gate * (T(1) - s)), rest);
            out *= gate * s;
          }
          store_part(dx + i, out, rest);
        }
      }
    }
  }
}

constexpr int64_t PIECE = 1 << 14;

// y = max(x, 0)^2, in place too; with dy y = 2 sqrt(x) dy, where x is such a square: the root of a rounded square is exact.
template <class T> void relu2(const T* x, const T* dy, T* y, int64_t count, int64_t threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t begin = 0; begin < count; begin += PIECE) {
    const int64_t end = std::min(count, begin + PIECE);
    for (int64_t i = begin; i < end; i += LANES<T>) {
      const Vec<T> v = load_part(x + i, end - i), kept = v < T(0) ? Vec<T>{} : v;  // NaN stays
      store_part(y + i, dy ? T(2) * root<T>(v) * load_part(dy + i, end - i) : kept * kept, end - i);
    }
  }
}

}  // namespace

extern "C" void norm_forward_f32(const NormArgs* a) { a->gate ? norm_forward<float, true>(*a) : norm_forward<float, false>(*a); }
extern "C" void norm_forward_f64(const NormArgs* a) { a->gate ? norm_forward<double, true>(*a) : norm_forward<double, false>(*a); }
extern "C" void norm_backward_f32(const NormArgs* a) { a->gate ? norm_backward<float, true>(*a) : norm_backward<float, false>(*a); }
extern "C" void norm_backward_f64(const NormArgs* a) { a->gate ? norm_backward<double, true>(*a) : norm_backward<double, false>(*a); }
extern "C" void relu2_f32(const float* x, const float* dy, float* y, int64_t count, int64_t threads) {
  relu2(x, dy, y, count, threads);
}
extern "C" void relu2_f64(const double* x, const double* dy, double* y, int64_t count, int64_t threads) {
  relu2(x, dy, y, count, threads);
}
