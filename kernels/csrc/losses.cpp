// Softmax losses of rows of logits: cross-entropy, and KL to a teacher. Values and gradients.
#include "rows.h"

extern "C" struct SoftmaxArgs {
  int64_t rows, columns, first, threads, gradient;  // columns from `first` on
  double scale;            // of the logits: 1 / temperature
  void *logits, *teacher;  // [rows][columns]; where `gradient`, logits become the gradient of the logits
  const int64_t* target;   // negative: not counted. With a teacher: the mask as 0 / -1
  void *losses, *known;    // [rows], [rows][5]
};

namespace {

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
    loss = kl_row(row, theirs, a.columns, T(a.scale), a.gradient != 0);
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
