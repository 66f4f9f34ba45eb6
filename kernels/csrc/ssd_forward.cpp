// The SSD scan, forward; ssd.h says how it is cut.
#include "ssd.h"

namespace {

template <class T> void forward_unit(const SsdArgs& a, int64_t b, int64_t head, int64_t heads, Scratch<T>& memory) {
  const Sizes<T> z(a);
  constexpr int64_t W = TILE_COLUMNS<T>;
  const int64_t N = z.N, P = z.P, Np = z.Np, Pp = z.Pp, Qp = z.Qp;
  const int64_t g = head / (a.heads / a.groups);
  T *Bqn = memory.take(z.Q * Np), *Cqn = memory.take(z.Q * Np), *Cnq = memory.take(Np * Qp);
  T *scores = memory.take(z.Q * Qp), *xq = memory.take(z.Q * Pp), *u = memory.take(z.Q * Pp), *uw = memory.take(z.Q * Pp), *spare = memory.take(heads * N * Pp);
  auto* documents = reinterpret_cast<Int<T>*>(memory.take(Qp));
  Decays<T> decays(memory, z);
  const T* D = static_cast<const T*>(a.D);
  const T* initial = static_cast<const T*>(a.initial);
  T* kept = static_cast<T*>(a.states);
  // The state before chunk k of a head: one place in `states`, or the same place for all chunks.
  auto state_of = [&](int64_t h, int64_t k) {
    return kept ? kept + ((b * a.heads + h) * (z.chunks + 1) + k) * N * Pp : spare + (h - head) * N * Pp;
  };
  for (int64_t h = head; h < head + heads; h++) {
    T* S = state_of(h, 0);
    std::fill(S, S + N * Pp, T(0));
    if (initial != nullptr)
      for (int64_t p = 0; p < P; p++)
        for (int64_t n = 0; n < N; n++) S[n * Pp + p] = initial[((b * a.heads + h) * P + p) * N + n];
  }
  for (int64_t k = 0; k < z.chunks; k++) {
    const int64_t begin = k * z.Q, length = std::min(z.Q, a.length - begin);
    const T* B = static_cast<const T*>(a.B) + b * a.B_batch + begin * a.B_row + g * N;
    const T* C = static_cast<const T*>(a.C) + b * a.C_batch + begin * a.C_row + g * N;
    pack(B, a.B_row, length, N, Bqn, Np);
    pack(C, a.C_row, length, N, Cqn, Np);
    pack_transposed(Cqn, Np, length, N, Cnq, Qp);
    score(z, length, Bqn, Cnq, scores);
    const bool cut = a.seq_idx && count_documents(a.seq_idx + b * a.length, begin, length, documents);
    const bool empty = k == 0 && initial == nullptr;
    for (int64_t h = head; h < head + heads; h++) {
      const T* x = static_cast<const T*>(a.x) + b * a.x_batch + begin * a.x_row + h * P;
      const T* dt = static_cast<const T*>(a.dt) + b * a.dt_batch + begin * a.dt_row + h;
      T* y = static_cast<T*>(a.y) + b * a.y_batch + begin * a.y_row + h * P;
      decays.fill(dt, a.dt_row, static_cast<const T*>(a.A)[h], length, z.Qw, Qp, cut ? documents : nullptr);
      pack_scaled(x, a.x_row, length, P, xq, u, decays.dt, Pp);
      for (int64_t t = 0; t < length; t++) {
        expect_written(y + t * a.y_row, P);
        for (int64_t p = 0; p < z.Pw; p += LANES<T>) store(uw + t * Pp + p, load(u + t * Pp + p) * decays.w[t]);
      }
      T* L = decays.L;
      for (int64_t s = 0; s < length; s++)
        for (int64_t t = s / DIAGONAL * DIAGONAL; t < z.Qw; t += LANES<T>)
          store(L + s * Qp + t, load(L + s * Qp + t) * load(scores + s * Qp + t));
      const T* S = state_of(h, k);
      T* S_next = state_of(h, k + 1);
      const T skip = D ? D[h] : T(0);
      for (int64_t p0 = 0; p0 < P; p0 += W) {
        auto output = [&]<int ROWS>(int64_t t, int64_t p) {
          Tile<T, ROWS> tile;
          if (!empty) {
            tile.add_product(Cnq + t, 1, Qp, S + p, Pp, 0, N);
            for (int i = 0; i < ROWS; i++) tile.v[i][0] *= decays.e[t + i], tile.v[i][1] *= decays.e[t + i];
          }
          // Columns t.. of M for rows s <= t; the rows of its last square are zero where s > t.
          tile.add_product(L + t, 1, Qp, u + p, Pp, 0, std::min(t + ROWS, length));
          for (int i = 0; i < ROWS; i++)
            for (int j = 0; j < 2; j++) {
              const int64_t q = p + j * LANES<T>;
              if (q >= P) continue;
              store_part(y + (t + i) * a.y_row + q, tile.v[i][j] + skip * load(xq + (t + i) * Pp + q), P - q);
            }
        };
        for_tiles<T>(0, length, p0, output);
      }
      for (int64_t p0 = 0; p0 < P; p0 += W) {
        auto update = [&]<int ROWS>(int64_t n, int64_t p) {
          Tile<T, ROWS> tile;
          for (int i = 0; i < ROWS; i++)
            for (int j = 0; j < 2; j++) tile.v[i][j] = decays.carry * load(S + (n + i) * Pp + p + j * LANES<T>);
          tile.add_product(Bqn + n, 1, Np, uw + p, Pp, 0, length);
          for (int i = 0; i < ROWS; i++)
            for (int j = 0; j < 2; j++) store(S_next + (n + i) * Pp + p + j * LANES<T>, tile.v[i][j]);
        };
        for_tiles<T>(0, N, p0, update);
      }
    }
  }
  for (int64_t h = head; h < head + heads; h++) {
    const T* S = state_of(h, z.chunks);
    T* out = static_cast<T*>(a.final) + (b * a.heads + h) * P * N;
    for (int64_t p = 0; p < P; p++)
      for (int64_t n = 0; n < N; n++) out[p * N + n] = S[n * Pp + p];
  }
}

}  // namespace

extern "C" void ssd_forward_f32(const SsdArgs* a) { run<float>(*a, forward_unit<float>); }
extern "C" void ssd_forward_f64(const SsdArgs* a) { run<double>(*a, forward_unit<double>); }

// Columns of the kept states.
extern "C" int64_t ssd_state_columns_f32(int64_t head_dim) { return step_of<float>(head_dim); }
extern "C" int64_t ssd_state_columns_f64(int64_t head_dim) { return step_of<double>(head_dim); }
