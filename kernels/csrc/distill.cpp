// Losses that bring a student's logits to a teacher's, row by row: values, and gradients in place of the logits. They are
// defined in kernels/distill_loss.py.
#include <vector>

#include "rows.h"

extern "C" struct DistillArgs {
  int64_t rows, columns, kind, kept, threads, gradient;  // `kept` of the vocabulary, for the last two kinds
  double scale, ce_weight;            // 1 / temperature; of the labels' cross-entropy
  void *logits, *teacher;             // [rows][columns]; both are overwritten; the teacher's are absent where it is kept
  const int64_t *target, *ids;        // [rows], negative: not counted; [rows][kept] of a kept teacher
  const void *log_probs, *log_tail;   // [rows][kept], [rows]
  void *losses, *entropies;           // [rows]
};

namespace {

enum Kind { FORWARD_KL, REVERSE_KL, MSE, COSINE, RENORMALISE, BUCKET };

constexpr double NO_MASS = -1e4;  // log of nothing, and yet a number to multiply it by

template <class T> T reverse_kl(T* mine, T* theirs, int64_t count, T scale, bool gradient) {
  const T top = scale * largest_of(mine, count), their_top = scale * largest_of(theirs, count);
  Vec<T> their_sum{}, cross{};
  const T sum = sum_of<T>(0, count, [&](int64_t i, int64_t rest) {
    const Vec<T> q = load_part(mine + i, rest) * scale - top, p = load_part(theirs + i, rest) * scale - their_top;
    const Vec<T> e = zero_behind<T>(exp_of(q), rest);
    their_sum += zero_behind<T>(exp_of(p), rest);
    cross += e * (q - p);
    if (gradient) store_part(mine + i, Vec<T>(q - p), rest), store_part(theirs + i, e, rest);
    return e;
  });
  const T mean = sum_lanes<T>(cross) / sum, factor = scale / sum;
  for (int64_t i = 0; gradient && i < count; i += LANES<T>) {
    const int64_t rest = count - i;
    store_part(mine + i, (load_part(mine + i, rest) - mean) * load_part(theirs + i, rest) * factor, rest);
  }
  return T(double(mean) - std::log(double(sum)) + std::log(double(sum_lanes<T>(their_sum))));
}

template <class T> T mse(T* mine, const T* theirs, int64_t count, bool gradient) {
  const T factor = T(2) / T(count);
  const T squares = sum_of<T>(0, count, [&](int64_t i, int64_t rest) {
    const Vec<T> d = load_part(mine + i, rest) - load_part(theirs + i, rest);
    if (gradient) store_part(mine + i, d * factor, rest);
    return d * d;
  });
  return squares / T(count);
}

template <class T> T cosine(T* mine, const T* theirs, int64_t count, bool gradient) {
  Vec<T> own{}, other{};
  const double dot = sum_of<T>(0, count, [&](int64_t i, int64_t rest) {
    const Vec<T> z = load_part(mine + i, rest), u = load_part(theirs + i, rest);
    own += z * z, other += u * u;
    return z * u;
  });
  const double squares = sum_lanes<T>(own), norms = std::sqrt(squares) * std::sqrt(double(sum_lanes<T>(other)));
  const T along = T(dot / norms / squares), across = T(1 / norms);
  for (int64_t i = 0; gradient && i < count; i += LANES<T>) {
    const int64_t rest = count - i;
    store_part(mine + i, load_part(mine + i, rest) * along - load_part(theirs + i, rest) * across, rest);
  }
  return T(1 - dot / norms);
}

// The `kept` largest numbers of rows, without sorting them.
template <class T> class Largest {
 public:
  // Their places, the larger number first taken, of equal ones the first. False where a number is NaN.
  bool find(const T* row, int64_t count, int64_t kept) {
    constexpr int VL = LANES<T>;
    // A block of vectors gives the largest number of each lane. As many of these as are kept bound the kept from below.
    const int64_t height = std::max<int64_t>(1, count / (4 * kept)), block = height * VL, blocks = count / block;
    tops_.resize(blocks * VL);
    for (int64_t b = 0; b < blocks; b++) {
      const T* begin = row + b * block;
      Vec<T> most = load(begin), sound = most == most ? Vec<T>{} : most;
      for (int64_t v = 1; v < height; v++) {
        const Vec<T> x = load(begin + v * VL);
        most = x > most ? x : most;
        sound = x == x ? sound : x;
      }
      for (int j = 0; j < VL; j++)
        if (sound[j] != sound[j]) return false;
      store(&tops_[b * VL], most);
    }
    T least = -std::numeric_limits<T>::infinity();
    if (int64_t(tops_.size()) >= kept) {
      sorted_ = tops_;
      std::nth_element(sorted_.begin(), sorted_.begin() + kept - 1, sorted_.end(), std::greater<T>());
      least = sorted_[kept - 1];
    }
    places.clear();
    for (int64_t top = 0; top < int64_t(tops_.size()); top++) {
      if (tops_[top] < least) continue;
      const int64_t first = top / VL * block + top % VL;
      for (int64_t v = 0; v < height; v++)
        if (row[first + v * VL] >= least) places.push_back(first + v * VL);
    }
    for (int64_t i = blocks * block; i < count; i++) {
      if (row[i] != row[i]) return false;
      if (row[i] >= least) places.push_back(i);
    }
    if (int64_t(places.size()) > kept) {
      std::nth_element(places.begin(), places.begin() + kept, places.end(), [row](int64_t a, int64_t b) {
        return row[a] > row[b] || (row[a] == row[b] && a < b);
      });
      places.resize(kept);
    }
    return true;
  }
  std::vector<int64_t> places;

 private:
  std::vector<T> tops_, sorted_;
};

template <class T> T log_sum_exp(const T* x, int64_t count) {
  const T top = *std::max_element(x, x + count);
  double sum = 0;
  for (int64_t i = 0; i < count; i++) sum += std::exp(x[i] - top);
  return T(top + std::log(sum));
}

template <class T> T log_add(T a, T b) {
  const T pair[2] = {a, b};
  return log_sum_exp(pair, 2);
}

// Takes `kept` numbers out of a row, times scale; minus infinity is left in their places.
template <class T> void take(T* row, const int64_t* ids, int64_t kept, T scale, T* taken) {
  for (int64_t k = 0; k < kept; k++) taken[k] = row[ids[k]] * scale;
  for (int64_t k = 0; k < kept; k++) row[ids[k]] = -std::numeric_limits<T>::infinity();
}

// Both distributions over the kept alone.
template <class T>
T renormalised(T* mine, int64_t count, T scale, const int64_t* ids, T* log_p, T* log_q, int64_t kept, bool gradient) {
  for (int64_t k = 0; k < kept; k++) log_q[k] = mine[ids[k]] * scale;
  const T own = log_sum_exp(log_q, kept), theirs = log_sum_exp(log_p, kept);
  if (gradient) std::fill(mine, mine + count, T(0));
  double loss = 0;
  for (int64_t k = 0; k < kept; k++) {
    const T q = log_q[k] - own, p = log_p[k] - theirs;
    loss += std::exp(p) * (p - q);
    if (gradient) mine[ids[k]] = scale * (std::exp(q) - std::exp(p));
  }
  return T(loss);
}

// All others are one outcome more.
template <class T>
T with_bucket(T* mine, int64_t count, T scale, const int64_t* ids, const T* log_p, T log_tail, T* log_q, int64_t kept,
              bool gradient) {
  take(mine, ids, kept, scale, log_q);
  Normaliser<T> others{-std::numeric_limits<T>::infinity(), T(0)};
  const bool whole = kept == count;
  if (!whole) add_part(mine, count, scale, gradient, others);
  const T of_kept = log_sum_exp(log_q, kept), of_others = T(others.log());
  const T log_sum = whole ? of_kept : log_add(of_kept, of_others);
  double loss = 0;
  if (!whole) {
    const T tail = std::max(log_tail, T(NO_MASS)), excess = tail - (of_others - log_sum);
    loss += std::exp(tail) * excess;
    const T q = std::exp(others.largest - log_sum), p = std::exp(tail + others.largest - of_others);
    if (gradient) scale_row(mine, count, scale * (q - p));
  }
  for (int64_t k = 0; k < kept; k++) {
    const T q = log_q[k] - log_sum;
    loss += std::exp(log_p[k]) * (log_p[k] - q);
    if (gradient) mine[ids[k]] = scale * (std::exp(q) - std::exp(log_p[k]));
  }
  return T(loss);
}

// What the rows of one thread need beside them.
template <class T> struct Beside {
  Largest<T> largest;
  std::vector<T> log_p, log_q, labels;
};

template <class T> T top_k(const DistillArgs& a, int64_t r, T* mine, T* theirs, Beside<T>& beside) {
  const T scale = T(a.scale);
  const int64_t* ids = a.ids + r * a.kept;
  T log_tail = T(0), *log_p = beside.log_p.data();
  if (!theirs) {
    const T* given = static_cast<const T*>(a.log_probs) + r * a.kept;
    std::copy(given, given + a.kept, log_p);
    log_tail = static_cast<const T*>(a.log_tail)[r];
  } else if (!beside.largest.find(theirs, a.columns, a.kept)) {
    if (a.gradient) std::fill(mine, mine + a.columns, std::numeric_limits<T>::quiet_NaN());
    return std::numeric_limits<T>::quiet_NaN();
  } else {
    ids = beside.largest.places.data();
    take(theirs, ids, a.kept, scale, log_p);
    if (a.kind == BUCKET) {
      Normaliser<T> others{-std::numeric_limits<T>::infinity(), T(0)};
      add_part(theirs, a.columns, scale, false, others);
      const bool whole = a.kept == a.columns;
      const T of_kept = log_sum_exp(log_p, a.kept), log_sum = whole ? of_kept : log_add(of_kept, T(others.log()));
      for (int64_t k = 0; k < a.kept; k++) log_p[k] -= log_sum;
      log_tail = T(others.log()) - log_sum;
    }
  }
  T* log_q = beside.log_q.data();
  if (a.kind == RENORMALISE) return renormalised(mine, a.columns, scale, ids, log_p, log_q, a.kept, a.gradient != 0);
  return with_bucket(mine, a.columns, scale, ids, log_p, log_tail, log_q, a.kept, a.gradient != 0);
}

template <class T> T loss_of(const DistillArgs& a, int64_t r, T* mine, T* theirs, Beside<T>& beside) {
  const bool gradient = a.gradient != 0;
  switch (a.kind) {
    case FORWARD_KL: return kl_row(mine, theirs, a.columns, T(a.scale), gradient);
    case REVERSE_KL: return reverse_kl(mine, theirs, a.columns, T(a.scale), gradient);
    case MSE: return mse(mine, theirs, a.columns, gradient);
    case COSINE: return cosine(mine, theirs, a.columns, gradient);
    default: return top_k(a, r, mine, theirs, beside);
  }
}

template <class T> void distill(const DistillArgs& a) {
#pragma omp parallel num_threads(a.threads)
  {
    Beside<T> beside;
    beside.log_p.resize(a.kept), beside.log_q.resize(a.kept), beside.labels.resize(a.ce_weight != 0 ? a.columns : 0);
    T* labels = beside.labels.data();
#pragma omp for schedule(static)
    for (int64_t r = 0; r < a.rows; r++) {
      T* mine = static_cast<T*>(a.logits) + r * a.columns;
      T* theirs = a.teacher ? static_cast<T*>(a.teacher) + r * a.columns : nullptr;
      T &loss = static_cast<T*>(a.losses)[r], &entropy = static_cast<T*>(a.entropies)[r];
      const int64_t target = a.target[r];
      loss = entropy = T(0);
      if (target < 0) {
        if (a.gradient) std::fill(mine, mine + a.columns, T(0));
        continue;
      }
      Normaliser<T> known{-std::numeric_limits<T>::infinity(), T(0)};
      if (a.ce_weight != 0) {
        const double picked = mine[target];
        std::copy(mine, mine + a.columns, labels);
        add_part(labels, a.columns, T(1), a.gradient != 0, known);
        entropy = T(known.log() - picked);
      }
      loss = loss_of(a, r, mine, theirs, beside);
      if (a.ce_weight == 0 || !a.gradient) continue;
      const T factor = T(a.ce_weight) / known.sum;
      for (int64_t i = 0; i < a.columns; i += LANES<T>) {
        const int64_t rest = a.columns - i;
        store_part(mine + i, load_part(mine + i, rest) + load_part(labels + i, rest) * factor, rest);
      }
      mine[target] -= T(a.ce_weight);
    }
  }
}

}  // namespace

extern "C" void distill_f32(const DistillArgs* a) { distill<float>(*a); }
extern "C" void distill_f64(const DistillArgs* a) { distill<double>(*a); }
