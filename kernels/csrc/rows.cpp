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
  int64_t rows, columns, first, threads, gradient;  // columns from `first` on
  double scale;            // of the logits: 1 / temperature
  void *logits, *teacher;  // [rows][columns]; where `gradient`, logits become the gradient of the logits
  const int64_t* target;   // negative: not counted. With a teacher: the mask as 0 / -1
  void *losses, *known;    // [rows], [rows][5]
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

// What a row of logits, of which only a part is there at a time, is known by: its largest number so far, and the sum of
// exp(logit - largest).
template <class T> struct Normaliser {
  T largest, sum;
  double log() const { return double(largest) + std::log(double(sum)); }
};

template <class T> T largest_of(const T* row, int64_t count) {
  constexpr int VL = LANES<T>;
  Vec<T> most = splat(-std::numeric_limits<T>::infinity());
  int64_t i = 0;
  for (; i + VL <= count; i += VL) {
    const Vec<T> v = load(row + i);
    most = v > most ? v : most;
  }
  T largest = -std::numeric_limits<T>::infinity();
  for (int j = 0; j < VL; j++) largest = std::max(largest, most[j]);
  for (; i < count; i++) largest = std::max(largest, row[i]);
  return largest;
}

// The first `count` lanes, zero behind.
template <class T> inline Vec<T> zero_behind(Vec<T> v, int64_t count) {
  for (int64_t j = count; j < LANES<T>; j++) v[j] = T(0);
  return v;
}

// From the state before this part of a row to that after it; the exponentials of the part replace it if `keep`.
template <class T> void add_part(T* row, int64_t count, T scale, bool keep, Normaliser<T>& known) {
  const T largest = std::max(known.largest, scale * largest_of(row, count));
  const T sum = sum_of<T>(0, count, [&](int64_t i, int64_t rest) {
    const Vec<T> e = zero_behind<T>(exp_of(load_part(row + i, rest) * scale - largest), rest);
    if (keep) store_part(row + i, e, rest);
    return e;
  });
  known.sum = known.sum * (known.largest < largest ? T(std::exp(double(known.largest) - largest)) : T(1)) + sum;
  known.largest = largest;
}

template <class T> void scale_row(T* row, int64_t count, T factor) {
  for (int64_t i = 0; i < count; i += LANES<T>) store_part(row + i, load_part(row + i, count - i) * factor, count - i);
}

// Whole rows: the loss, and the gradient of the logits in their place.
template <class T> void cross_entropy(const SoftmaxArgs& a) {
#pragma omp parallel for schedule(static) num_threads(a.threads)
  for (int64_t r = 0; r < a.rows; r++) {
    T* row = static_cast<T*>(a.logits) + r * a.columns;
    T& loss = static_cast<T*>(a.losses)[r];
    const int64_t target = a.target[r];
    if (target < 0) {
      loss = T(0);
      if (a.gradient) std::fill(row, row + a.columns, T(0));
      continue;
    }
    Normaliser<T> known{-std::numeric_limits<T>::infinity(), T(0)};
    const double picked = row[target];
    add_part(row, a.columns, T(1), a.gradient != 0, known);
    loss = T(known.log() - picked);
    if (!a.gradient) continue;
    scale_row(row, a.columns, T(1) / known.sum);
    row[target] -= T(1);
  }
}

// sum of P (teacher - student) over a part of a row, P = exp(teacher - largest), all logits scaled. Both parts are
// replaced by their exponentials if `keep`. `total` is of the scale of the teacher's sum.
template <class T>
void add_both(T* mine, T* theirs, int64_t count, T scale, bool keep, Normaliser<T>& student, Normaliser<T>& teacher,
              T& total) {
  const T old = teacher.largest;
  const T top = std::max(student.largest, scale * largest_of(mine, count));
  const T their_top = std::max(old, scale * largest_of(theirs, count));
  Vec<T> their_sum{}, cross{};
  const T sum = sum_of<T>(0, count, [&](int64_t i, int64_t rest) {
    const Vec<T> q = load_part(mine + i, rest) * scale - top, p = load_part(theirs + i, rest) * scale - their_top;
    const Vec<T> student_exp = zero_behind<T>(exp_of(q), rest), teacher_exp = zero_behind<T>(exp_of(p), rest);
    their_sum += teacher_exp;
    cross += teacher_exp * (p - q);
    if (keep) store_part(mine + i, student_exp, rest), store_part(theirs + i, teacher_exp, rest);
    return student_exp;
  });
  // Terms of earlier parts are relative to the largest numbers of then.
  if (old > -std::numeric_limits<T>::infinity()) {
    const T factor = T(std::exp(double(old) - their_top));
    const T moved = (old - their_top) - (student.largest - top);
    total = (total + teacher.sum * moved) * factor;
    teacher.sum *= factor;
    student.sum *= T(std::exp(double(student.largest) - top));
  }
  total += sum_lanes<T>(cross);
  teacher.sum += sum_lanes<T>(their_sum);
  student.sum += sum;
  student.largest = top, teacher.largest = their_top;
}

// sum P / sum(P) * (log of the teacher's probability - log of the student's)
template <class T> T divergence(const Normaliser<T>& student, const Normaliser<T>& teacher, T total) {
  return T(double(total) / double(teacher.sum) - std::log(double(teacher.sum)) + std::log(double(student.sum)));
}

template <class T> void kl(const SoftmaxArgs& a) {
#pragma omp parallel for schedule(static) num_threads(a.threads)
  for (int64_t r = 0; r < a.rows; r++) {
    T* row = static_cast<T*>(a.logits) + r * a.columns;
    T* theirs = static_cast<T*>(a.teacher) + r * a.columns;
    T& loss = static_cast<T*>(a.losses)[r];
    if (a.target[r] < 0) {
      loss = T(0);
      if (a.gradient) std::fill(row, row + a.columns, T(0));
      continue;
    }
    constexpr T NOTHING = -std::numeric_limits<T>::infinity();
    Normaliser<T> student{NOTHING, T(0)}, teacher{NOTHING, T(0)};
    T total = T(0);
    add_both(row, theirs, a.columns, T(a.scale), a.gradient != 0, student, teacher, total);
    loss = divergence(student, teacher, total);
    if (!a.gradient) continue;
    const T factor = T(a.scale) / student.sum, their_factor = T(a.scale) / teacher.sum;
    for (int64_t i = 0; i < a.columns; i += LANES<T>) {
      const int64_t rest = a.columns - i;
      store_part(row + i, load_part(row + i, rest) * factor - load_part(theirs + i, rest) * their_factor, rest);
    }
  }
}

// The same losses where the vocabulary comes in tiles, twice: `known` collects what the whole rows are known by,
// [rows][5]: student's largest and sum, teacher's largest and sum, and the logit of the target or the sum of add_both.
template <class T> void collect(const SoftmaxArgs& a) {
#pragma omp parallel for schedule(static) num_threads(a.threads)
  for (int64_t r = 0; r < a.rows; r++) {
    T* row = static_cast<T*>(a.logits) + r * a.columns;
    T* known = static_cast<T*>(a.known) + r * 5;
    if (a.target[r] < 0) continue;
    Normaliser<T> student{known[0], known[1]};
    if (a.teacher) {
      Normaliser<T> teacher{known[2], known[3]};
      add_both(row, static_cast<T*>(a.teacher) + r * a.columns, a.columns, T(a.scale), false, student, teacher, known[4]);
      known[2] = teacher.largest, known[3] = teacher.sum;
    } else {
      const int64_t at = a.target[r] - a.first;
      if (at >= 0 && at < a.columns) known[4] = row[at];
      add_part(row, a.columns, T(1), false, student);
    }
    known[0] = student.largest, known[1] = student.sum;
  }
}

template <class T> void finish(const SoftmaxArgs& a) {
  for (int64_t r = 0; r < a.rows; r++) {
    const T* known = static_cast<const T*>(a.known) + r * 5;
    const Normaliser<T> student{known[0], known[1]}, teacher{known[2], known[3]};
    const bool distilled = a.teacher != nullptr;
    static_cast<T*>(a.losses)[r] = a.target[r] < 0 ? T(0)
                                   : distilled     ? divergence(student, teacher, known[4])
                                                   : T(student.log() - double(known[4]));
  }
}

// Tiles of logits become those of the gradient.
template <class T> void differentiate(const SoftmaxArgs& a) {
#pragma omp parallel for schedule(static) num_threads(a.threads)
  for (int64_t r = 0; r < a.rows; r++) {
    T* row = static_cast<T*>(a.logits) + r * a.columns;
    const T* theirs = static_cast<const T*>(a.teacher) + r * a.columns;
    const T* known = static_cast<const T*>(a.known) + r * 5;
    if (a.target[r] < 0) {
      std::fill(row, row + a.columns, T(0));
      continue;
    }
    const T scale = T(a.scale), factor = scale / known[1], their_factor = scale / known[3];
    for (int64_t i = 0; i < a.columns; i += LANES<T>) {
      const int64_t rest = a.columns - i;
      Vec<T> g = exp_of(load_part(row + i, rest) * scale - known[0]) * factor;
      if (a.teacher) g -= exp_of(load_part(theirs + i, rest) * scale - known[2]) * their_factor;
      store_part(row + i, g, rest);
    }
    const int64_t at = a.target[r] - a.first;
    if (!a.teacher && at >= 0 && at < a.columns) row[at] -= T(1);
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
extern "C" void softmax_collect_f32(const SoftmaxArgs* a) { collect<float>(*a); }
extern "C" void softmax_collect_f64(const SoftmaxArgs* a) { collect<double>(*a); }
extern "C" void softmax_finish_f32(const SoftmaxArgs* a) { finish<float>(*a); }
extern "C" void softmax_finish_f64(const SoftmaxArgs* a) { finish<double>(*a); }
extern "C" void softmax_differentiate_f32(const SoftmaxArgs* a) { differentiate<float>(*a); }
extern "C" void softmax_differentiate_f64(const SoftmaxArgs* a) { differentiate<double>(*a); }
