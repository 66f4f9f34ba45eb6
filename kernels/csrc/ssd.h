// The SSD scan in its chunked form: what forward and backward have in common. kernels/ssd.py states the operation,
// kernels/ssd_cpu.py calls it.
//
// A unit of work is a batch row with a few heads of one group; it walks through the chunks with the state in cache.
// Units are cut by shape alone and sums over units have a fixed order: results do not depend on the number of threads.
//
// Inside a chunk of Q positions, with c_t the cumulative sum of dt A, u = dt x, w_s = exp(c_last - c_s), e_t = exp(c_t)
// and L_st = exp(c_t - c_s) for s <= t (0 elsewhere and between documents):
//
//   M_st = (B_s . C_t) L_st      Y_t = e_t C_t S + sum_s M_st u_s + D x_t      S' = exp(c_last) S + sum_s w_s B_s u_s^T
//
// Matrices are kept as [s][t], states as [n][p]; names carry what they hold: Bqn is B as [Q][N], Bnq its transpose.
// The gradient of the decay uses that M, e and w are exponentials: the derivative with respect to c is the product of a
// term with its own gradient. Terms of a position with itself (s = t) know no decay and are left out exactly.
#pragma once

#include "pack.h"

extern "C" struct SsdArgs {
  int64_t batch, length, heads, head_dim, groups, state, chunk, block, threads;
  int64_t x_batch, x_row, dt_batch, dt_row, B_batch, B_row, C_batch, C_row, y_batch, y_row;
  int64_t dx_batch, dx_row, ddt_batch, ddt_row, dB_batch, dB_row, dC_batch, dC_row;
  const void *x, *dt, *A, *B, *C, *D, *initial;
  const int64_t* seq_idx;
  void *y, *final, *states;
  const void *dy, *dfinal;
  void *dx, *ddt, *dA, *dB, *dC, *dD, *dinitial, *partial_B, *partial_C;
};

namespace {

constexpr int64_t DIAGONAL = 16;  // L is computed directly in squares of this size, as a product of factors elsewhere

// `pack`, and once more with each row times its factor.
template <class T>
void pack_scaled(const T* from, int64_t step, int64_t rows, int64_t columns, T* to, T* scaled, const T* factor,
                 int64_t padded) {
  for (int64_t i = 0; i < rows; i++) {
    const T* f = from + i * step;
    if (i + AHEAD < rows) expect(f + AHEAD * step, columns);
    for (int64_t j = 0; j < padded; j += LANES<T>) {
      const Vec<T> v = j < columns ? load_part(f + j, columns - j) : Vec<T>{};
      store(to + i * padded + j, v);
      store(scaled + i * padded + j, v * factor[i]);
    }
  }
}

// N, P, Q; rounded up to whole tiles (Nw, ...); steps between rows (Np, ...).
template <class T> struct Sizes {
  int64_t N, P, Q, Nw, Pw, Qw, Np, Pp, Qp, chunks;
  explicit Sizes(const SsdArgs& a) : N(a.state), P(a.head_dim), Q(std::min(a.chunk, a.length)) {
    constexpr int64_t W = TILE_COLUMNS<T>;
    Nw = round_up(N, W), Pw = round_up(P, W), Qw = round_up(Q, W);
    Np = step_of<T>(N), Pp = step_of<T>(P), Qp = step_of<T>(Q);
    chunks = (a.length + Q - 1) / Q;
  }
};

// What a chunk needs of one head besides matrices: decays between its positions, its beginning and its end.
template <class T> struct Decays {
  T *dt, *e, *w, *end, *down, *L;
  double* c;
  T carry;

  Decays(Scratch<T>& memory, const Sizes<T>& z)
      : dt(memory.take(z.Qp)), e(memory.take(z.Qp)), w(memory.take(z.Qp)), end(memory.take(z.Qp)),
        down(memory.take(z.Qp)), L(memory.take(z.Q * z.Qp)), c(new double[z.Qp]) {}
  ~Decays() { delete[] c; }

  // documents[t]: how many boundaries lie between the position before the chunk and t; null where there is none.
  void fill(const T* dt_from, int64_t dt_step, T A, int64_t length, int64_t padded, int64_t step,
            const Int<T>* documents) {
    using V = Vec<T>;
    double sum = 0;
    for (int64_t t = 0; t < length; t++) {
      dt[t] = dt_from[t * dt_step];
      sum += double(dt[t]) * double(A);
      c[t] = sum;
    }
    for (int64_t t = length; t < padded; t++) dt[t] = T(0), c[t] = sum;
    for (int64_t t = 0; t < padded; t++) e[t] = T(c[t]), w[t] = T(c[length - 1] - c[t]);
    for (int64_t t = 0; t < padded; t += LANES<T>) {
      store(e + t, exp_of(load(e + t)));
      store(w + t, exp_of(load(w + t)));
    }
    carry = e[length - 1];
    if (documents != nullptr) {
      const auto last = documents[length - 1];
      for (int64_t t = 0; t < length; t++) {
        if (documents[t] != 0) e[t] = T(0);
        if (documents[t] != last) w[t] = T(0);
      }
      if (last != 0) carry = T(0);
    }
    for (int64_t t = length; t < padded; t++) e[t] = w[t] = T(0);
    for (int64_t s0 = 0; s0 < length; s0 += DIAGONAL) {
      const int64_t s1 = std::min(s0 + DIAGONAL, length), past = std::min(round_up(s1, DIAGONAL), padded);
      for (int64_t t = s0; t < past; t++) end[t] = T(c[t] - c[s0]);
      for (int64_t t = past; t < padded; t++) down[t] = T(c[t] - c[s1 - 1]);
      for (int64_t t = past; t < padded; t += LANES<T>) store(down + t, exp_of(load(down + t)));
      for (int64_t s = s0; s < s1; s++) {
        T* row = L + s * step;
        const T from = end[s];
        for (int64_t t = s0; t < past; t += LANES<T>) store(row + t, exp_of(load(end + t) - from));
        for (int64_t t = std::max<int64_t>(s0 - DIAGONAL, 0); t < s; t++) row[t] = T(0);
        const V up = exp_of(splat(T(c[s1 - 1] - c[s])));
        for (int64_t t = past; t < padded; t += LANES<T>) store(row + t, up * load(down + t));
        if (documents != nullptr)
          for (int64_t t = s; t < length; t++)
            if (documents[t] != documents[s]) row[t] = T(0);
        for (int64_t t = length; t < padded; t++) row[t] = T(0);
      }
    }
  }
};

// documents[t] of a chunk (see Decays); returns whether there is a boundary.
template <class I> bool count_documents(const int64_t* seq, int64_t begin, int64_t length, I* documents) {
  I number = 0;
  for (int64_t t = 0; t < length; t++) {
    const int64_t at = begin + t;
    if (at > 0 && seq[at] != seq[at - 1]) number++;
    documents[t] = number;
  }
  return number != 0;
}

// scores[s][t] = B_s . C_t, for s up to the last row of t's square.
template <class T>
void score(const Sizes<T>& z, int64_t length, const T* Bqn, const T* Cnq, T* scores) {
  for (int64_t t0 = 0; t0 < length; t0 += TILE_COLUMNS<T>) {
    auto body = [&]<int ROWS>(int64_t s, int64_t t) {
      Tile<T, ROWS> tile;
      tile.add_product(Bqn + s * z.Np, z.Np, 1, Cnq + t, z.Qp, 0, z.N);
      for (int i = 0; i < ROWS; i++) {
        store(scores + (s + i) * z.Qp + t, tile.v[i][0]);
        store(scores + (s + i) * z.Qp + t + LANES<T>, tile.v[i][1]);
      }
    };
    for_tiles<T>(0, std::min(round_up(t0 + TILE_COLUMNS<T>, DIAGONAL), length), t0, body);
  }
}

// Numbers that one unit needs, generously.
template <class T> int64_t scratch_size(const SsdArgs& a, int64_t heads) {
  const Sizes<T> z(a);
  return 7 * z.Np * z.Qp + 5 * z.Q * z.Qp + 7 * z.Qp * z.Pp + heads * z.N * z.Pp + (14 + LANES<T>) * z.Qp;
}

template <class T> void run(const SsdArgs& a, void (*unit)(const SsdArgs&, int64_t, int64_t, int64_t, Scratch<T>&)) {
  const int64_t per_group = a.heads / a.groups, parts = (per_group + a.block - 1) / a.block;
#pragma omp parallel for collapse(3) schedule(dynamic, 1) num_threads(a.threads)
  for (int64_t b = 0; b < a.batch; b++)
    for (int64_t g = 0; g < a.groups; g++)
      for (int64_t part = 0; part < parts; part++) {
        const int64_t first = part * a.block, heads = std::min(a.block, per_group - first);
        Scratch<T> memory(scratch_size<T>(a, heads));
        unit(a, b, g * per_group + first, heads, memory);
      }
}

}  // namespace
