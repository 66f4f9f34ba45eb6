// Vectors of the machine's width, and what the kernels do with them.
//
// Built without -ffast-math: infinities and NaN go through every function here as arithmetic has it, because training
// looks for them. Sums have a fixed order whatever the number of threads.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>
#include <type_traits>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
constexpr int VECTOR_BYTES = 64;
#else
constexpr int VECTOR_BYTES = 32;
#endif

template <class T> struct VectorOf;
template <> struct VectorOf<float> {
  typedef float Type __attribute__((vector_size(VECTOR_BYTES)));
  typedef float Loose __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));
  typedef int32_t Ints __attribute__((vector_size(VECTOR_BYTES)));
  typedef int32_t LooseInts __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));
};
template <> struct VectorOf<double> {
  typedef double Type __attribute__((vector_size(VECTOR_BYTES)));
  typedef double Loose __attribute__((vector_size(VECTOR_BYTES), aligned(8), may_alias));
  typedef int64_t Ints __attribute__((vector_size(VECTOR_BYTES)));
  typedef int64_t LooseInts __attribute__((vector_size(VECTOR_BYTES), aligned(8), may_alias));
};

template <class T> using Vec = typename VectorOf<T>::Type;
template <class T> using Ints = typename VectorOf<T>::Ints;
template <class T> using Int = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;
template <class T> constexpr int LANES = VECTOR_BYTES / sizeof(T);

template <class T> inline Vec<T> load(const T* p) { return *reinterpret_cast<const typename VectorOf<T>::Loose*>(p); }
template <class T> inline void store(T* p, Vec<T> v) { *reinterpret_cast<typename VectorOf<T>::Loose*>(p) = v; }
template <class T> inline Ints<T> load_ints(const Int<T>* p) {
  return *reinterpret_cast<const typename VectorOf<T>::LooseInts*>(p);
}

// The first `count` lanes; the others are zero, or left alone in memory.
template <class T> inline Vec<T> load_part(const T* p, int64_t count) {
  if (count >= LANES<T>) return load(p);
  Vec<T> v{};
  for (int64_t i = 0; i < count; i++) v[i] = p[i];
  return v;
}
template <class T> inline void store_part(T* p, Vec<T> v, int64_t count) {
  if (count >= LANES<T>) return store(p, v);
  for (int64_t i = 0; i < count; i++) p[i] = v[i];
}

#if defined(__AVX512F__)
inline Vec<float> load_part(const float* p, int64_t count) {
  return count >= 16 ? load(p) : (Vec<float>)_mm512_maskz_loadu_ps(__mmask16((1u << count) - 1), p);
}
inline void store_part(float* p, Vec<float> v, int64_t count) {
  if (count >= 16) return store(p, v);
  _mm512_mask_storeu_ps(p, __mmask16((1u << count) - 1), (__m512)v);
}
#elif defined(__AVX2__)
inline __m256i first_lanes(int64_t count) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(int(count)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
inline Vec<float> load_part(const float* p, int64_t count) {
  return count >= 8 ? load(p) : (Vec<float>)_mm256_maskload_ps(p, first_lanes(count));
}
inline void store_part(float* p, Vec<float> v, int64_t count) {
  if (count >= 8) return store(p, v);
  _mm256_maskstore_ps(p, first_lanes(count), (__m256)v);
}
#endif

// Rows that will soon be read, or written.
template <class T> inline void expect(const T* row, int64_t columns) {
  for (int64_t j = 0; j < columns; j += 64 / int64_t(sizeof(T))) __builtin_prefetch(row + j);
}
template <class T> inline void expect_written(T* row, int64_t columns) {
  for (int64_t j = 0; j < columns; j += 64 / int64_t(sizeof(T))) __builtin_prefetch(row + j, 1);
}

template <class T> inline Vec<T> splat(T s) {
  Vec<T> v;
  for (int i = 0; i < LANES<T>; i++) v[i] = s;
  return v;
}

template <class T> inline T sum_lanes(Vec<T> v) {
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<T, float>) return _mm512_reduce_add_ps((__m512)v);  // in the order below
#endif
  T parts[LANES<T>];
  store(parts, v);
  for (int width = LANES<T> / 2; width; width /= 2)
    for (int i = 0; i < width; i++) parts[i] += parts[i + width];
  return parts[0];
}

// Transposes of 8 x 8 floats: to[j * to_step + i] = from[i * from_step + j].
#if defined(__clang__)
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (Eight::Ints){__VA_ARGS__})
#endif
struct Eight {
  typedef float Floats __attribute__((vector_size(32)));
  typedef float Loose __attribute__((vector_size(32), aligned(4), may_alias));
  typedef int32_t Ints __attribute__((vector_size(32)));
};
inline void transpose_8x8(const float* from, int64_t from_step, float* to, int64_t to_step) {
  Eight::Floats r[8], pairs[8], fours[8];
  for (int i = 0; i < 8; i++) r[i] = *reinterpret_cast<const Eight::Loose*>(from + i * from_step);
  for (int i = 0; i < 8; i += 2) {
    pairs[i] = SHUFFLE(r[i], r[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
    pairs[i + 1] = SHUFFLE(r[i], r[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
  }
  for (int half = 0; half < 8; half += 4)
    for (int i = 0; i < 2; i++) {
      fours[half + 2 * i] = SHUFFLE(pairs[half + i], pairs[half + i + 2], 0, 1, 8, 9, 4, 5, 12, 13);
      fours[half + 2 * i + 1] = SHUFFLE(pairs[half + i], pairs[half + i + 2], 2, 3, 10, 11, 6, 7, 14, 15);
    }
  for (int i = 0; i < 4; i++) {
    *reinterpret_cast<Eight::Loose*>(to + i * to_step) = SHUFFLE(fours[i], fours[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
    *reinterpret_cast<Eight::Loose*>(to + (i + 4) * to_step) = SHUFFLE(fours[i], fours[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
  }
}

// to[j * to_step + i] = from[i * from_step + j] for i < rows, j < columns.
template <class T>
inline void transpose(const T* from, int64_t from_step, int64_t rows, int64_t columns, T* to, int64_t to_step) {
  int64_t done = 0;  // columns
  if constexpr (std::is_same_v<T, float>)
    for (; done + 8 <= columns; done += 8) {
      int64_t i = 0;
      for (; i + 8 <= rows; i += 8) transpose_8x8(from + i * from_step + done, from_step, to + done * to_step + i, to_step);
      for (; i < rows; i++)
        for (int64_t j = done; j < done + 8; j++) to[j * to_step + i] = from[i * from_step + j];
    }
  for (int64_t j = done; j < columns; j++)
    for (int64_t i = 0; i < rows; i++) to[j * to_step + i] = from[i * from_step + j];
}

// exp with 2 ulp for float; results below the smallest normal number are 0, arguments above 88 count as 88.
// Polynomial of the Cephes library (S. Moshier), expf: with x = n log 2 + r, exp(x) = 2^n (1 + r + r^2 p(r)).
[[gnu::always_inline]] inline void reduce_exponent(Vec<float> x, Vec<float>& n, Vec<float>& r, Vec<float>& p) {
  const Vec<float> rounder = splat(12582912.0f);  // 1.5 * 2^23
  n = (x * 1.44269504088896341f + rounder) - rounder;
  r = x - n * 0.693359375f - n * -2.12194440e-4f;
  p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
}
#if defined(__AVX512F__)
inline Vec<float> exp_of(Vec<float> x) {
  using V = Vec<float>;
  V n, r, p;
  reduce_exponent((V)_mm512_min_ps(_mm512_set1_ps(88.0f), (__m512)x), n, r, p);  // NaN stays: the second is taken
  const V y = (p * r + 1.0f) * r + 1.0f;
  const __mmask16 normal = _mm512_cmp_ps_mask((__m512)x, _mm512_set1_ps(-87.0f), _CMP_NLT_UQ);
  return (V)_mm512_maskz_scalef_ps(normal, (__m512)y, (__m512)n);
}
#else
inline Vec<float> exp_of(Vec<float> x) {
  using V = Vec<float>;
  using I = Ints<float>;
  V n, r, p;
  reduce_exponent(x > 88.0f ? splat(88.0f) : x, n, r, p);
  const V y = p * (r * r) + r + 1.0f;
  const I exponent = (__builtin_convertvector(n, I) + 127) << 23;
  V scale;
  std::memcpy(&scale, &exponent, sizeof scale);
  return x < -87.0f ? V{} : y * scale;
}
#endif
inline Vec<double> exp_of(Vec<double> x) {
  for (int i = 0; i < LANES<double>; i++) x[i] = std::exp(x[i]);
  return x;
}

template <class T> inline Vec<T> root(Vec<T> x) {
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<T, float>) return (Vec<T>)_mm512_sqrt_ps((__m512)x);
#elif defined(__AVX2__)
  if constexpr (std::is_same_v<T, float>) return (Vec<T>)_mm256_sqrt_ps((__m256)x);
#endif
  for (int i = 0; i < LANES<T>; i++) x[i] = std::sqrt(x[i]);
  return x;
}

template <class T> inline Vec<T> sigmoid(Vec<T> x) { return T(1) / (T(1) + exp_of(-x)); }

inline int64_t round_up(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

// Memory of one thread, handed out in pieces that begin on cache lines.
template <class T> class Scratch {
 public:
  explicit Scratch(int64_t count) : begin_(static_cast<T*>(::operator new(count * sizeof(T) + 64 * 64, kAlign))) {
    next_ = begin_;
  }
  ~Scratch() { ::operator delete(begin_, kAlign); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  T* take(int64_t count) {
    T* piece = next_;
    next_ += round_up(count, 64 / sizeof(T));
    return piece;
  }

 private:
  static constexpr std::align_val_t kAlign{64};
  T* begin_;
  T* next_;
};
