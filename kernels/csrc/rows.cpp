// Operations on rows of numbers: RMS norms, squared ReLU, softmax losses. Forward and backward.
//
// Threads take blocks of rows cut by the number of rows alone; what is summed over rows is kept per block.
#include "simd.h"

extern "C" struct NormArgs {
  int64_t rows, width, group, blocks, threads;
  int64_t x_row, gate_row, y_row, dx_row, dgate_row, residual_row;
  double eps;
  const void *x, *gate, *weight;  // no gate: null
  void* y;
  const void *dy, *residual;  // no residual: null
  void *dx, *dgate, *dweight;  // dweight [blocks][width]
};

extern "C" struct SoftmaxArgs {
  int64_t rows, vocabulary, threads, gradient;
  double scale;               // of the logits: 1 / temperature
  void *logits, *teacher;     // [rows][vocabulary]; where `gradient`, logits become the gradient of the logits
  const int64_t* target;      // negative: not counted. With a teacher: the mask as 0 / -1
  void* losses;               // [rows]
};

namespace {

constexpr int64_t AHEAD = 4;  // rows

// The sum over [begin, end) of what `term(i, count)` makes of the numbers from i on, `count` of them at most.
template <class T, class Term> [[gnu::always_inline]] inline T sum_of(int64_t begin, int64_t end, Term term) {
  constexpr int VL = LANES<T>;
  Vec<T> even{}, odd{};
  int64_t i = begin;
  for (; i + 2 * VL <= end; i += 2 * VL) even += term(i, VL), odd += term(i + VL, VL);
  for (; i < end; i += VL) even += term(i, end - i);
  return sum_lanes<T>(even + odd);
}

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

// With `residual`, the gradient of x is its sum with that of the norm.
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
      const T* residual = a.residual ? static_cast<const T*>(a.residual) + r * a.residual_row : nullptr;
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
          if (residual) out += load_part(residual + i, rest);
          store_part(dx + i, out, rest);
        }
      }
    }
  }
}

constexpr int64_t PIECE = 1 << 14;

template <class T> void relu2(const T* x, const T* dy, T* y, int64_t count, int64_t threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t begin = 0; begin < count; begin += PIECE) {
    const int64_t end = std::min(count, begin + PIECE);
    for (int64_t i = begin; i < end; i += LANES<T>) {
      const Vec<T> v = load_part(x + i, end - i), kept = v < T(0) ? Vec<T>{} : v;  // NaN stays
      store_part(y + i, dy ? T(2) * kept * load_part(dy + i, end - i) : kept * kept, end - i);
    }
  }
}

template <class T> struct Normaliser {
  T largest, sum;
};

// row *= scale; the largest number and sum(exp(row - largest)).
template <class T> Normaliser<T> normaliser(T* row, int64_t count, T scale) {
  constexpr int VL = LANES<T>;
  Vec<T> most = splat(-std::numeric_limits<T>::infinity());
  int64_t i = 0;
  for (; i + VL <= count; i += VL) {
    const Vec<T> v = load(row + i) * scale;
    store(row + i, v);
    most = v > most ? v : most;
  }
  T largest = -std::numeric_limits<T>::infinity();
  for (int j = 0; j < VL; j++) largest = std::max(largest, most[j]);
  for (; i < count; i++) row[i] *= scale, largest = std::max(largest, row[i]);
  Vec<T> sums{};
  for (i = 0; i + VL <= count; i += VL) sums += exp_of(load(row + i) - largest);
  T sum = sum_lanes<T>(sums);
  for (; i < count; i++) sum += std::exp(row[i] - largest);
  return {largest, sum};
}

template <class T> void cross_entropy(const SoftmaxArgs& a) {
#pragma omp parallel for schedule(static) num_threads(a.threads)
  for (int64_t r = 0; r < a.rows; r++) {
    T* row = static_cast<T*>(a.logits) + r * a.vocabulary;
    T& loss = static_cast<T*>(a.losses)[r];
    if (a.target[r] < 0) {
      loss = T(0);
      if (a.gradient) std::fill(row, row + a.vocabulary, T(0));
      continue;
    }
    const auto [largest, sum] = normaliser(row, a.vocabulary, T(1));
    loss = largest + std::log(sum) - row[a.target[r]];
    if (!a.gradient) continue;
    const T inverse = T(1) / sum;
    for (int64_t i = 0; i < a.vocabulary; i += LANES<T>)
      store_part(row + i, exp_of(load_part(row + i, a.vocabulary - i) - largest) * inverse, a.vocabulary - i);
    row[a.target[r]] -= T(1);
  }
}

template <class T> void kl(const SoftmaxArgs& a) {
#pragma omp parallel for schedule(static) num_threads(a.threads)
  for (int64_t r = 0; r < a.rows; r++) {
    T* row = static_cast<T*>(a.logits) + r * a.vocabulary;
    T* teacher = static_cast<T*>(a.teacher) + r * a.vocabulary;
    T& loss = static_cast<T*>(a.losses)[r];
    if (a.target[r] < 0) {
      loss = T(0);
      if (a.gradient) std::fill(row, row + a.vocabulary, T(0));
      continue;
    }
    const auto [largest, sum] = normaliser(row, a.vocabulary, T(a.scale));
    const auto [their_largest, their_sum] = normaliser(teacher, a.vocabulary, T(a.scale));
    const T shift = largest + std::log(sum), their_shift = their_largest + std::log(their_sum);
    const T inverse = T(1) / sum, their_inverse = T(1) / their_sum;
    Vec<T> total{};
    for (int64_t i = 0; i < a.vocabulary; i += LANES<T>) {
      const int64_t rest = a.vocabulary - i;
      const Vec<T> mine = load_part(row + i, rest), theirs = load_part(teacher + i, rest);
      Vec<T> p = exp_of(theirs - their_largest) * their_inverse;
      for (int64_t j = rest; j < LANES<T>; j++) p[j] = T(0);
      total += p * ((theirs - their_shift) - (mine - shift));
      if (a.gradient) store_part(row + i, (exp_of(mine - largest) * inverse - p) * T(a.scale), rest);
    }
    loss = sum_lanes<T>(total);
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
extern "C" void cross_entropy_f32(const SoftmaxArgs* a) { cross_entropy<float>(*a); }
extern "C" void cross_entropy_f64(const SoftmaxArgs* a) { cross_entropy<double>(*a); }
extern "C" void kl_f32(const SoftmaxArgs* a) { kl<float>(*a); }
extern "C" void kl_f64(const SoftmaxArgs* a) { kl<double>(*a); }
