// What is asked of rows of numbers: sums, the largest, softmax normalisers and KL divergences.
#pragma once

#include "simd.h"

// The sum over [begin, end) of what `term(i, count)` makes of the numbers from i on, `count` of them at most.
template <class T, class Term> [[gnu::always_inline]] inline T sum_of(int64_t begin, int64_t end, Term term) {
  constexpr int VL = LANES<T>;
  Vec<T> even{}, odd{};
  int64_t i = begin;
  for (; i + 2 * VL <= end; i += 2 * VL) even += term(i, VL), odd += term(i + VL, VL);
  for (; i < end; i += VL) even += term(i, end - i);
  return sum_lanes<T>(even + odd);
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

// The divergence of whole rows, and where `gradient` that of the student's logits in their place.
template <class T> T kl_row(T* mine, T* theirs, int64_t count, T scale, bool gradient) {
  constexpr T NOTHING = -std::numeric_limits<T>::infinity();
  Normaliser<T> student{NOTHING, T(0)}, teacher{NOTHING, T(0)};
  T total = T(0);
  add_both(mine, theirs, count, scale, gradient, student, teacher, total);
  if (gradient) {
    const T factor = scale / student.sum, their_factor = scale / teacher.sum;
    for (int64_t i = 0; i < count; i += LANES<T>) {
      const int64_t rest = count - i;
      store_part(mine + i, load_part(mine + i, rest) * factor - load_part(theirs + i, rest) * their_factor, rest);
    }
  }
  return divergence(student, teacher, total);
}
