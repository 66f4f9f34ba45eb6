// Causal attention, backward; attention.h says how it is cut.
//
// With P the weights, made again from the scores, and o the output:
//
//   dV = P^T dO      dP = dO V^T      dS = P (dP - sum_e dO o)      dQ = scale dS K      dK = scale dS^T Q
#include "attention.h"

namespace {

template <class T> struct Block {
  T *Qqe, *Qeq, *dOqe, *dOeq, *dQqe, *P, *dS, *normaliser, *along;
  Block(Scratch<T>& memory, const Steps<T>& z)
      : Qqe(memory.take(BLOCK * z.Ep)), Qeq(memory.take(z.E * z.Bp)), dOqe(memory.take(BLOCK * z.Ep)),
        dOeq(memory.take(z.E * z.Bp)), dQqe(memory.take(BLOCK * z.Ep)), P(memory.take(BLOCK * z.Bp)),
        dS(memory.take(BLOCK * z.Bp)), normaliser(memory.take(BLOCK)), along(memory.take(BLOCK)) {}
  static int64_t size(const Steps<T>& z) { return BLOCK * (3 * z.Ep + 2 * z.Bp + 2) + 2 * z.E * z.Bp; }

  struct Rows {
    const T *q, *y, *dy;
    Rows(const AttentionArgs& a, int64_t b, int64_t h, int64_t first)
        : q(static_cast<const T*>(a.q) + b * a.q_batch + h * a.q_head + first * a.q_row),
          y(static_cast<const T*>(a.y) + b * a.y_batch + h * a.y_head + first * a.y_row),
          dy(static_cast<const T*>(a.dy) + b * a.dy_batch + h * a.dy_head + first * a.dy_row) {}
  };

  static void expect(const AttentionArgs& a, int64_t b, int64_t h, int64_t first, int64_t count) {
    const Rows from(a, b, h, first);
    expect_rows(from.q, a.q_row, count, a.head_dim);
    expect_rows(from.y, a.y_row, count, a.head_dim);
    expect_rows(from.dy, a.dy_row, count, a.head_dim);
  }

  void read(const AttentionArgs& a, const Steps<T>& z, int64_t b, int64_t h, int64_t first, int64_t count) {
    const Rows from(a, b, h, first);
    pack(from.q, a.q_row, count, z.E, Qqe, z.Ep);
    scale_rows(Qqe, count * z.Ep, T(a.scale));
    pack_transposed(Qqe, z.Ep, count, z.E, Qeq, z.Bp);
    pack(from.dy, a.dy_row, count, z.E, dOqe, z.Ep);
    pack_transposed(dOqe, z.Ep, count, z.E, dOeq, z.Bp);
    std::fill(dQqe, dQqe + BLOCK * z.Ep, T(0));
    const T* kept = static_cast<const T*>(a.normaliser) + (b * a.heads + h) * a.length + first;
    for (int64_t i = 0; i < BLOCK; i++) normaliser[i] = along[i] = T(0);
    for (int64_t i = 0; i < count; i++) {
      normaliser[i] = kept[i];
      Vec<T> sum{};
      for (int64_t e = 0; e < z.E; e += LANES<T>)
        sum += load(dOqe + i * z.Ep + e) * load_part(from.y + i * a.y_row + e, z.E - e);
      along[i] = sum_lanes<T>(sum);
    }
  }
};

// P and dS of a block of keys.
template <class T>
void weigh(const Steps<T>& z, const Queries<T>& q, const Keys<T>& k, const T* Kke, const T* Vke, const Block<T>& m) {
  using V = Vec<T>;
  constexpr int64_t W = TILE_COLUMNS<T>, VL = LANES<T>;
  for (int64_t i = 0; i < q.count; i += W) {
    const int64_t seen = k.before(q, i + W);
    auto channels = [&](int64_t, int64_t) { return Bounds{0, z.E}; };
    product<Old::DROPPED, T>({Kke, z.Ep, 1}, {m.Qeq, z.Bp}, seen, i, m.P, z.Bp, channels);
    product<Old::DROPPED, T>({Vke, z.Ep, 1}, {m.dOeq, z.Bp}, seen, i, m.dS, z.Bp, channels);
    hide(q, k, m.P, z.Bp, i, i + W, seen, -std::numeric_limits<T>::infinity());
    const V from0 = load(m.normaliser + i), from1 = load(m.normaliser + i + VL);
    const V along0 = load(m.along + i), along1 = load(m.along + i + VL);
    for (int64_t at = i; at < seen * z.Bp; at += z.Bp) {
      const V p0 = exp_of(load(m.P + at) - from0), p1 = exp_of(load(m.P + at + VL) - from1);
      store(m.P + at, p0), store(m.P + at + VL, p1);
      store(m.dS + at, p0 * (load(m.dS + at) - along0)), store(m.dS + at + VL, p1 * (load(m.dS + at + VL) - along1));
    }
    for (int64_t j = seen; j < std::min(seen + TILE_ROWS, k.count); j++)  // tiles of queries reach into the next columns
      for (T* matrix : {m.P, m.dS}) store(matrix + j * z.Bp + i, V{}), store(matrix + j * z.Bp + i + VL, V{});
  }
}

template <class T> void backward_unit(const AttentionArgs& a, int64_t b, int64_t group, int64_t part, Scratch<T>& memory) {
  const Steps<T> z(a);
  const int64_t per_group = a.heads / a.kv_heads, end = std::min((part + 1) * a.block, per_group);
  T *Kke = memory.take(a.keys * z.Ep), *Vke = memory.take(a.keys * z.Ep), *dKke = memory.take(a.keys * z.Ep),
    *dVke = memory.take(a.keys * z.Ep);
  Block<T> m(memory, z);
  pack(static_cast<const T*>(a.k) + b * a.k_batch + group * a.k_head, a.k_row, a.keys, z.E, Kke, z.Ep);
  pack(static_cast<const T*>(a.v) + b * a.v_batch + group * a.v_head, a.v_row, a.keys, z.E, Vke, z.Ep);
  std::fill(dKke, dKke + a.keys * z.Ep, T(0));
  std::fill(dVke, dVke + a.keys * z.Ep, T(0));
  for (int64_t h = group * per_group + part * a.block; h < group * per_group + end; h++)
    for (int64_t first = 0; first < a.length; first += BLOCK) {
      const Queries<T> q(a, b, first);
      m.read(a, z, b, h, first, q.count);
      if (first + BLOCK < a.length)
        Block<T>::expect(a, b, h, first + BLOCK, std::min(BLOCK, a.length - first - BLOCK));
      else if (h + 1 < group * per_group + end)
        Block<T>::expect(a, b, h + 1, 0, std::min(BLOCK, a.length));
      for (int64_t begin = 0; begin < q.position + q.count; begin += BLOCK) {
        const Keys<T> k(a, q, begin);
        if (!k.seen) continue;
        const int64_t at = begin * z.Ep;
        weigh(z, q, k, Kke + at, Vke + at, m);
        auto queries = [&](int64_t j, int64_t) { return Bounds{std::max<int64_t>(0, begin + j - q.position), q.count}; };
        auto keys = [&](int64_t i, int64_t rows) { return Bounds{0, k.before(q, i + rows)}; };
        for (int64_t e = 0; e < z.E; e += TILE_COLUMNS<T>) {
          product<Old::KEPT, T>({m.P, z.Bp, 1}, {m.dOqe, z.Ep}, k.count, e, dVke + at, z.Ep, queries);
          product<Old::KEPT, T>({m.dS, z.Bp, 1}, {m.Qqe, z.Ep}, k.count, e, dKke + at, z.Ep, queries);
          product<Old::KEPT, T>({m.dS, 1, z.Bp}, {Kke + at, z.Ep}, q.count, e, m.dQqe, z.Ep, keys);
        }
      }
      T* dq = static_cast<T*>(a.dq) + b * a.dq_batch + h * a.dq_head + first * a.dq_row;
      for (int64_t i = 0; i < q.count; i++)
        for (int64_t e = 0; e < z.E; e += LANES<T>)
          store_part(dq + i * a.dq_row + e, load(m.dQqe + i * z.Ep + e) * T(a.scale), z.E - e);
    }
  const int64_t to = part * a.dkv_part + b * a.dkv_batch + group * a.dkv_head;
  T *dk = static_cast<T*>(a.dk) + to, *dv = static_cast<T*>(a.dv) + to;
  for (int64_t j = 0; j < a.keys; j++)
    for (int64_t e = 0; e < z.E; e += LANES<T>) {
      store_part(dk + j * a.dkv_row + e, load(dKke + j * z.Ep + e), z.E - e);
      store_part(dv + j * a.dkv_row + e, load(dVke + j * z.Ep + e), z.E - e);
    }
}

template <class T> void backward(const AttentionArgs& a) {
  const int64_t per_group = a.heads / a.kv_heads, parts = (per_group + a.block - 1) / a.block;
  const Steps<T> z(a);
#pragma omp parallel for collapse(3) schedule(dynamic, 1) num_threads(a.threads)
  for (int64_t b = 0; b < a.batch; b++)
    for (int64_t group = 0; group < a.kv_heads; group++)
      for (int64_t part = 0; part < parts; part++) {
        Scratch<T> memory(4 * a.keys * z.Ep + Block<T>::size(z));
        backward_unit(a, b, group, part, memory);
      }
}

}  // namespace

extern "C" void attention_backward_f32(const AttentionArgs* a) { backward<float>(*a); }
extern "C" void attention_backward_f64(const AttentionArgs* a) { backward<double>(*a); }
