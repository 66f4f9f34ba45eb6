// Operations on rows of numbers: RMS norms, squared ReLU, softmax losses. Forward and backward.
//
// Threads take blocks of rows cut by the number of rows alone; what is summed over rows is kept per block.
#include "simd.h"

extern "C" struct NormArgs {
  int64_t rows, width, group, blocks, threads;
  int64_t x_row, gate_row, y_row, dx_row, dgate_row;
  double eps;
  const void *x, *gate, *weight;  // no gate: null
  void* y;
  const void* dy;
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

template <class T> void norm_forward(const NormArgs& a) {
  constexpr int VL = LANES<T>;
#pragma omp parallel for schedule(static) num_threads(a.threads)
  for (int64_t r = 0; r < a.rows; r++) {
    const T* x = static_cast<const T*>(a.x) + r * a.x_row;
    const T* z = a.gate ? static_cast<const T*>(a.gate) + r * a.gate_row : nullptr;
    const T* w = static_cast<const T*>(a.weight);
    T* y = static_cast<T*>(a.y) + r * a.y_row;
    for (int64_t g = 0; g < a.width; g += a.group) {
      const int64_t end = g + a.group;
      Vec<T> squares{};
      for (int64_t i = g; i < end; i += VL) {
        Vec<T> v = load_part(x + i, end - i);
        if (z) {
          const Vec<T> gate = load_part(z + i, end - i);
          v *= gate * sigmoid<T>(gate);
          store_part(y + i, v, end - i);
        }
        squares += v * v;
      }
      const T scale = T(1) / std::sqrt(sum_lanes<T>(squares) / T(a.group) + T(a.eps));
      const T* v = z ? y : x;
      for (int64_t i = g; i < end; i += VL)
        store_part(y + i, load_part(v + i, end - i) * scale * load_part(w + i, end - i), end - i);
    }
  }
}

template <class T> void norm_backward(const NormArgs& a) {
  constexpr int VL = LANES<T>;
  const int64_t per_block = (a.rows + a.blocks - 1) / a.blocks;
#pragma omp parallel for schedule(static) num_threads(a.threads)
  for (int64_t block = 0; block < a.blocks; block++) {
    T* dw = static_cast<T*>(a.dweight) + block * a.width;
    std::fill(dw, dw + a.width, T(0));
    for (int64_t r = block * per_block; r < std::min(a.rows, (block + 1) * per_block); r++) {
      const T* x = static_cast<const T*>(a.x) + r * a.x_row;
      const T* z = a.gate ? static_cast<const T*>(a.gate) + r * a.gate_row : nullptr;
      const T* w = static_cast<const T*>(a.weight);
      const T* dy = static_cast<const T*>(a.dy) + r * a.y_row;
      T* dx = static_cast<T*>(a.dx) + r * a.dx_row;
      T* dz = a.gate ? static_cast<T*>(a.dgate) + r * a.dgate_row : nullptr;
      for (int64_t g = 0; g < a.width; g += a.group) {
        const int64_t end = g + a.group;
        Vec<T> squares{}, dots{};
        for (int64_t i = g; i < end; i += VL) {
          Vec<T> v = load_part(x + i, end - i);
          if (z) {
            const Vec<T> gate = load_part(z + i, end - i), s = sigmoid<T>(gate);
            store_part(dz + i, s, end - i);
            v *= gate * s;
          }
          squares += v * v;
          dots += v * load_part(w + i, end - i) * load_part(dy + i, end - i);
        }
        const T scale = T(1) / std::sqrt(sum_lanes<T>(squares) / T(a.group) + T(a.eps));
        const T along = sum_lanes<T>(dots) * scale * scale / T(a.group);
        for (int64_t i = g; i < end; i += VL) {
          const int64_t rest = end - i;
          const Vec<T> xv = load_part(x + i, rest), d = load_part(dy + i, rest);
          const Vec<T> gate = z ? load_part(z + i, rest) : Vec<T>{}, s = z ? load_part(dz + i, rest) : Vec<T>{};
          const Vec<T> silu = z ? gate * s : splat(T(1)), v = xv * silu;
          const Vec<T> dv = (d * load_part(w + i, rest) - v * along) * scale;
          store_part(dw + i, load_part(dw + i, rest) + d * v * scale, rest);
          store_part(dx + i, dv * silu, rest);
          if (z) store_part(dz + i, dv * xv * s * (T(1) + gate * (T(1) - s)), rest);
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

extern "C" void norm_forward_f32(const NormArgs* a) { norm_forward<float>(*a); }
extern "C" void norm_forward_f64(const NormArgs* a) { norm_forward<double>(*a); }
extern "C" void norm_backward_f32(const NormArgs* a) { norm_backward<float>(*a); }
extern "C" void norm_backward_f64(const NormArgs* a) { norm_backward<double>(*a); }
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
