// The gradients of the SSD scan; ssd.h says how it is cut.
#include "ssd.h"

namespace {

// out[i] = the sum of rows[i][0..LANES).
template <class T> void sum_rows(const T* rows, int64_t count, T* out) {
  constexpr int VL = LANES<T>;
  int64_t i = 0;
  for (; i + VL <= count; i += VL) {
    T turned[VL * VL];
    transpose(rows + i * VL, VL, VL, VL, turned, VL);
    Vec<T> sum{};
    for (int j = 0; j < VL; j++) sum += load(turned + j * VL);
    store(out + i, sum);
  }
  for (; i < count; i++) {
    out[i] = T(0);
    for (int j = 0; j < VL; j++) out[i] += rows[i * VL + j];
  }
}

template <class T> void backward_unit(const SsdArgs& a, int64_t b, int64_t head, int64_t heads, Scratch<T>& memory) {
  using V = Vec<T>;
  const Sizes<T> z(a);
  constexpr int64_t W = TILE_COLUMNS<T>;
  constexpr int VL = LANES<T>;
  const int64_t N = z.N, P = z.P, Q = z.Q, Np = z.Np, Pp = z.Pp, Qp = z.Qp;
  const int64_t per_group = a.heads / a.groups, g = head / per_group, part = head % per_group / a.block;
  T *Bqn = memory.take(Q * Np), *Cqn = memory.take(Q * Np), *Bnq = memory.take(Np * Qp), *Cnq = memory.take(Np * Qp);
  T *dBnq = memory.take(Np * Qp), *dCnq = memory.take(Np * Qp), *rows_qn = memory.take(Q * Np);
  T *scores = memory.take(Q * Qp), *dscores = memory.take(Q * Qp), *M = memory.take(Q * Qp);
  T *xq = memory.take(Q * Pp), *u = memory.take(Q * Pp), *uw_pq = memory.take(Pp * Qp), *du = memory.take(Q * Pp);
  T *dy_qp = memory.take(Q * Pp), *dye_qp = memory.take(Q * Pp), *dy_pq = memory.take(Pp * Qp);
  T *along_s = memory.take(Q * VL), *out_of = memory.take(Qp), *directly = memory.take(Qp);
  T *along_t = memory.take(Qp), *from_state = memory.take(Qp), *to_state = memory.take(Qp);
  T* dS_all = memory.take(heads * N * Pp);
  auto* documents = reinterpret_cast<Int<T>*>(memory.take(Qp));
  Decays<T> decays(memory, z);
  const T* D = static_cast<const T*>(a.D);
  const T* dfinal = static_cast<const T*>(a.dfinal);
  T lanes[VL];
  for (int i = 0; i < VL; i++) lanes[i] = T(i);
  const V lane = load(lanes);

  T* dA = static_cast<T*>(a.dA) + b * a.heads;
  T* dD = static_cast<T*>(a.dD) + b * a.heads;
  double* sums = new double[2 * heads]();
  std::fill(dS_all, dS_all + heads * N * Pp, T(0));
  if (dfinal != nullptr)
    for (int64_t h = 0; h < heads; h++)
      for (int64_t p = 0; p < P; p++)
        for (int64_t n = 0; n < N; n++)
          dS_all[(h * N + n) * Pp + p] = dfinal[((b * a.heads + head + h) * P + p) * N + n];

  for (int64_t k = z.chunks - 1; k >= 0; k--) {
    const int64_t begin = k * Q, length = std::min(Q, a.length - begin);
    const T* B = static_cast<const T*>(a.B) + b * a.B_batch + begin * a.B_row + g * N;
    const T* C = static_cast<const T*>(a.C) + b * a.C_batch + begin * a.C_row + g * N;
    pack(B, a.B_row, length, N, Bqn, Np);
    pack(C, a.C_row, length, N, Cqn, Np);
    pack_transposed(Bqn, Np, length, N, Bnq, Qp);
    pack_transposed(Cqn, Np, length, N, Cnq, Qp);
    score(z, length, Bqn, Cnq, scores);
    std::fill(dscores, dscores + length * Qp, T(0));
    std::fill(dBnq, dBnq + N * Qp, T(0));
    std::fill(dCnq, dCnq + N * Qp, T(0));
    const bool cut = a.seq_idx && count_documents(a.seq_idx + b * a.length, begin, length, documents);
    const bool empty = k == 0 && a.initial == nullptr;
    const bool last = k == z.chunks - 1 && dfinal == nullptr;  // nothing comes from behind

    for (int64_t h = head; h < head + heads; h++) {
      const T* x = static_cast<const T*>(a.x) + b * a.x_batch + begin * a.x_row + h * P;
      const T* dt = static_cast<const T*>(a.dt) + b * a.dt_batch + begin * a.dt_row + h;
      const T* dy = static_cast<const T*>(a.dy) + b * a.y_batch + begin * a.y_row + h * P;
      const T* S = static_cast<const T*>(a.states) + ((b * a.heads + h) * (z.chunks + 1) + k) * N * Pp;
      T* dS = dS_all + (h - head) * N * Pp;
      const T A = static_cast<const T*>(a.A)[h], skip = D ? D[h] : T(0);
      decays.fill(dt, a.dt_row, A, length, z.Qw, Qp, cut ? documents : nullptr);
      const T* L = decays.L;

      pack_scaled(x, a.x_row, length, P, xq, u, decays.dt, Pp);
      pack_scaled(dy, a.y_row, length, P, dy_qp, dye_qp, decays.e, Pp);
      pack_transposed(dy_qp, Pp, length, P, dy_pq, Qp);
      if (!last) {
        pack_transposed(u, Pp, length, P, uw_pq, Qp);
        for (int64_t p = 0; p < P; p++)
          for (int64_t s = 0; s < z.Qw; s += VL)
            store(uw_pq + p * Qp + s, load(uw_pq + p * Qp + s) * load(decays.w + s));
      }
      std::fill(along_s, along_s + length * VL, T(0));
      for (T* sum : {along_t, from_state, to_state}) std::fill(sum, sum + Qp, T(0));

      // Inside the chunk: the gradient of M, and through it those of the scores and of L.
      for (int64_t t0 = 0; t0 < length; t0 += W) {
        auto inside = [&]<int ROWS>(int64_t s, int64_t t) {
          Tile<T, ROWS> tile;
          tile.add_product(u + s * Pp, Pp, 1, dy_pq + t, Qp, 0, P);
          for (int i = 0; i < ROWS; i++)
            for (int j = 0; j < 2; j++) {
              const int64_t q = t + j * VL, at = (s + i) * Qp + q;
              V l = load(L + at);
              if (q < s + i) l = lane + T(q) < T(s + i) ? V{} : l;
              const V m = l * load(scores + at);
              store(M + at, m);
              store(dscores + at, load(dscores + at) + tile.v[i][j] * l);
              V product = tile.v[i][j] * m;
              if (q <= s + i) product = lane + T(q) == T(s + i) ? V{} : product;
              store(along_t + q, load(along_t + q) + product);
              store(along_s + (s + i) * VL, load(along_s + (s + i) * VL) + product);
            }
        };
        for_tiles<T>(0, std::min(t0 + W, length), t0, inside);
        for (int64_t s = t0 + W; s < std::min(t0 + W + TILE_ROWS, length); s++) std::fill(M + s * Qp + t0, M + s * Qp + t0 + W, T(0));
      }
      // du = w (B dS) + M dY
      for (int64_t p0 = 0; p0 < P; p0 += W) {
        auto input = [&]<int ROWS>(int64_t s, int64_t p) {
          Tile<T, ROWS> tile;
          if (!last) {
            tile.add_product(Bnq + s, 1, Qp, dS + p, Pp, 0, N);
            for (int i = 0; i < ROWS; i++) tile.v[i][0] *= decays.w[s + i], tile.v[i][1] *= decays.w[s + i];
          }
          tile.add_product(M + s * Qp, Qp, 1, dy_qp + p, Pp, s, length);
          for (int i = 0; i < ROWS; i++)
            for (int j = 0; j < 2; j++) store(du + (s + i) * Pp + p + j * VL, tile.v[i][j]);
        };
        for_tiles<T>(0, length, p0, input);
      }
      // C: e (dY S), and what it says about e.
      if (!empty)
        for (int64_t t0 = 0; t0 < length; t0 += W) {
          auto readout = [&]<int ROWS>(int64_t n, int64_t t) {
            Tile<T, ROWS> tile;
            tile.add_product(S + n * Pp, Pp, 1, dy_pq + t, Qp, 0, P);
            for (int j = 0; j < 2; j++) {
              const V e = load(decays.e + t + j * VL);
              V sum = load(from_state + t + j * VL);
              for (int i = 0; i < ROWS; i++) {
                const int64_t at = (n + i) * Qp + t + j * VL;
                const V d = tile.v[i][j] * e;
                store(dCnq + at, load(dCnq + at) + d);
                sum += d * load(Cnq + at);
              }
              store(from_state + t + j * VL, sum);
            }
          };
          for_tiles<T>(0, N, t0, readout);
        }
      // B: w (u dS), and what it says about w.
      if (!last)
        for (int64_t s0 = 0; s0 < length; s0 += W) {
          auto write = [&]<int ROWS>(int64_t n, int64_t s) {
            Tile<T, ROWS> tile;
            tile.add_product(dS + n * Pp, Pp, 1, uw_pq + s, Qp, 0, P);
            for (int j = 0; j < 2; j++) {
              V sum = load(to_state + s + j * VL);
              for (int i = 0; i < ROWS; i++) {
                const int64_t at = (n + i) * Qp + s + j * VL;
                store(dBnq + at, load(dBnq + at) + tile.v[i][j]);
                sum += tile.v[i][j] * load(Bnq + at);
              }
              store(to_state + s + j * VL, sum);
            }
          };
          for_tiles<T>(0, N, s0, write);
        }
      // The state before the chunk: exp(c_last) dS + C^T (e dY), in place.
      double carried = 0;
      if (!last && !empty && decays.carry != T(0)) {
        V sum{};
        for (int64_t n = 0; n < N; n++)
          for (int64_t p = 0; p < z.Pw; p += VL) sum += load(S + n * Pp + p) * load(dS + n * Pp + p);
        carried = double(sum_lanes<T>(sum)) * double(decays.carry);
      }
      if (k > 0 || a.initial != nullptr)
        for (int64_t p0 = 0; p0 < P; p0 += W) {
          auto update = [&]<int ROWS>(int64_t n, int64_t p) {
            Tile<T, ROWS> tile;
            if (!last)
              for (int i = 0; i < ROWS; i++)
                for (int j = 0; j < 2; j++) tile.v[i][j] = decays.carry * load(dS + (n + i) * Pp + p + j * VL);
            tile.add_product(Cqn + n, 1, Np, dye_qp + p, Pp, 0, length);
            for (int i = 0; i < ROWS; i++)
              for (int j = 0; j < 2; j++) store(dS + (n + i) * Pp + p + j * VL, tile.v[i][j]);
          };
          for_tiles<T>(0, N, p0, update);
        }
      // Finish: dx, ddt, dA, dD.
      T* dx = static_cast<T*>(a.dx) + b * a.dx_batch + begin * a.dx_row + h * P;
      T* ddt = static_cast<T*>(a.ddt) + b * a.ddt_batch + begin * a.ddt_row + h;
      double decay = carried, dA_sum = 0;
      for (int64_t s = 0; s < length; s++) decay += double(to_state[s]);
      sum_rows(along_s, length, out_of);
      V skipped{};
      for (int64_t t = 0; t < length; t++) {
        V direct{};
        if (t + AHEAD < length) expect_written(dx + (t + AHEAD) * a.dx_row, P);
        for (int64_t p = 0; p < P; p += VL) {
          const V xv = load(xq + t * Pp + p), d = load(du + t * Pp + p), o = load(dy_qp + t * Pp + p);
          direct += xv * d;
          skipped += xv * o;
          store_part(dx + t * a.dx_row + p, decays.dt[t] * d + skip * o, P - p);
        }
        store(along_s + t * VL, direct);
      }
      sum_rows(along_s, length, directly);
      for (int64_t t = length - 1; t >= 0; t--) {
        decay += double(along_t[t]) - double(out_of[t]) + double(from_state[t]) - double(to_state[t]);
        dA_sum += decay * double(decays.dt[t]);
        ddt[t * a.ddt_row] = T(double(directly[t]) + decay * double(A));
      }
      sums[2 * (h - head)] += dA_sum;
      sums[2 * (h - head) + 1] += double(sum_lanes<T>(skipped));
    }

    // What the scores say about B and C, for all heads of the unit at once.
    T* dB = a.partial_B ? static_cast<T*>(a.partial_B) + (part * a.batch + b) * a.length * a.groups * N
                        : static_cast<T*>(a.dB) + b * a.dB_batch;
    T* dC = a.partial_C ? static_cast<T*>(a.partial_C) + (part * a.batch + b) * a.length * a.groups * N
                        : static_cast<T*>(a.dC) + b * a.dC_batch;
    const int64_t dB_row = a.partial_B ? a.groups * N : a.dB_row, dC_row = a.partial_C ? a.groups * N : a.dC_row;
    dB += begin * dB_row + g * N, dC += begin * dC_row + g * N;
    for (int64_t t0 = 0; t0 < length; t0 += W) {
      auto from_scores = [&]<int ROWS>(int64_t n, int64_t t) {
        Tile<T, ROWS> tile;
        tile.add_product(Bqn + n, 1, Np, dscores + t, Qp, 0, std::min(t + W, length));
        for (int i = 0; i < ROWS; i++)
          for (int j = 0; j < 2; j++) {
            const int64_t at = (n + i) * Qp + t + j * VL;
            store(dCnq + at, load(dCnq + at) + tile.v[i][j]);
          }
      };
      for_tiles<T>(0, N, t0, from_scores);
    }
    transpose(dCnq, Qp, N, length, rows_qn, Np);
    for (int64_t t = 0; t < length; t++) std::copy(rows_qn + t * Np, rows_qn + t * Np + N, dC + t * dC_row);
    transpose(dBnq, Qp, N, length, rows_qn, Np);
    for (int64_t n0 = 0; n0 < N; n0 += W) {
      auto from_scores = [&]<int ROWS>(int64_t s, int64_t n) {
        Tile<T, ROWS> tile;
        tile.add_product(dscores + s * Qp, Qp, 1, Cqn + n, Np, s, length);
        for (int i = 0; i < ROWS; i++)
          for (int j = 0; j < 2; j++) {
            const int64_t m = n + j * VL;
            if (m < N) store_part(dB + (s + i) * dB_row + m, tile.v[i][j] + load(rows_qn + (s + i) * Np + m), N - m);
          }
      };
      for_tiles<T>(0, length, n0, from_scores);
    }
  }
  for (int64_t h = 0; h < heads; h++) {
    dA[head + h] = T(sums[2 * h]);
    dD[head + h] = T(sums[2 * h + 1]);
  }
  delete[] sums;
  if (a.dinitial != nullptr)
    for (int64_t h = 0; h < heads; h++) {
      T* out = static_cast<T*>(a.dinitial) + (b * a.heads + head + h) * P * N;
      for (int64_t p = 0; p < P; p++)
        for (int64_t n = 0; n < N; n++) out[p * N + n] = dS_all[(h * N + n) * Pp + p];
    }
}

// dB and dC as sums over parts of a group, in the order of the parts.
template <class T> void add_parts(const SsdArgs& a) {
  const int64_t per_group = a.heads / a.groups, parts = (per_group + a.block - 1) / a.block;
  const int64_t width = a.groups * a.state, plane = a.batch * a.length * width;
#pragma omp parallel for collapse(2) num_threads(a.threads)
  for (int64_t b = 0; b < a.batch; b++)
    for (int64_t t = 0; t < a.length; t++)
      for (int which = 0; which < 2; which++) {
        const T* from = static_cast<const T*>(which ? a.partial_C : a.partial_B) + (b * a.length + t) * width;
        T* to = which ? static_cast<T*>(a.dC) + b * a.dC_batch + t * a.dC_row
                      : static_cast<T*>(a.dB) + b * a.dB_batch + t * a.dB_row;
        for (int64_t n = 0; n < width; n += LANES<T>) {
          Vec<T> sum = load_part(from + n, width - n);
          for (int64_t part = 1; part < parts; part++) sum += load_part(from + part * plane + n, width - n);
          store_part(to + n, sum, width - n);
        }
      }
}

}  // namespace

extern "C" void ssd_backward_f32(const SsdArgs* a) {
  run<float>(*a, backward_unit<float>);
  if (a->partial_B) add_parts<float>(*a);
}
extern "C" void ssd_backward_f64(const SsdArgs* a) {
  run<double>(*a, backward_unit<double>);
  if (a->partial_B) add_parts<double>(*a);
}
