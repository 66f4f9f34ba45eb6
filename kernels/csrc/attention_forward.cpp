// Causal attention, forward; attention.h says how it is cut.
#include "attention.h"

namespace {

// What a block of queries of one head knows after some of the keys.
template <class T> struct Head {
  T *Qeq, *Oqe, *largest, *sum;
  Head(T* memory, const Steps<T>& z)
      : Qeq(memory), Oqe(Qeq + z.E * z.Bp), largest(Oqe + BLOCK * z.Ep), sum(largest + BLOCK) {}
  static int64_t size(const Steps<T>& z) { return z.E * z.Bp + BLOCK * (z.Ep + 2); }
};

// Scores of the keys of a block, and their exponentials in place of them; what was known is made relative to the
// new largest score by `fade`.
template <class T>
void weigh(const Steps<T>& z, const Queries<T>& q, const Keys<T>& k, const T* Kke, const Head<T>& head, T* P, T* fade) {
  using V = Vec<T>;
  constexpr int64_t W = TILE_COLUMNS<T>, VL = LANES<T>;
  constexpr T NOTHING = -std::numeric_limits<T>::infinity();
  for (int64_t i = 0; i < q.count; i += W) {
    const int64_t seen = k.before(q, i + W);
    product<Old::DROPPED, T>({Kke, z.Ep, 1}, {head.Qeq, z.Bp}, seen, i, P, z.Bp, [&](int64_t, int64_t) { return Bounds{0, z.E}; });
    hide(q, k, P, z.Bp, i, i + W, seen, NOTHING);
    const V old0 = load(head.largest + i), old1 = load(head.largest + i + VL);
    V most0 = old0, most1 = old1;
    for (T* p = P + i; p < P + seen * z.Bp; p += z.Bp) {
      const V s0 = load(p), s1 = load(p + VL);
      most0 = s0 > most0 ? s0 : most0, most1 = s1 > most1 ? s1 : most1;
    }
    const V from0 = most0 > NOTHING ? most0 : V{}, from1 = most1 > NOTHING ? most1 : V{};  // none seen yet
    const V fade0 = exp_of(old0 - from0), fade1 = exp_of(old1 - from1);
    V sum0 = load(head.sum + i) * fade0, sum1 = load(head.sum + i + VL) * fade1;
    for (T* p = P + i; p < P + seen * z.Bp; p += z.Bp) {
      const V p0 = exp_of(load(p) - from0), p1 = exp_of(load(p + VL) - from1);
      sum0 += p0, sum1 += p1;
      store(p, p0), store(p + VL, p1);
    }
    store(head.largest + i, most0), store(head.largest + i + VL, most1);
    store(head.sum + i, sum0), store(head.sum + i + VL, sum1);
    store(fade + i, fade0), store(fade + i + VL, fade1);
    for (int64_t j = seen; j < std::min(seen + TILE_ROWS, k.count); j++)  // tiles of queries reach into the next columns
      store(P + j * z.Bp + i, V{}), store(P + j * z.Bp + i + VL, V{});
  }
}

template <class T> void forward_unit(const AttentionArgs& a, int64_t b, int64_t group, int64_t first, Scratch<T>& memory) {
  constexpr int64_t W = TILE_COLUMNS<T>;
  const Steps<T> z(a);
  const int64_t per_group = a.heads / a.kv_heads;
  const Queries<T> q(a, b, first);
  T *Kke = memory.take(BLOCK * z.Ep), *Vke = memory.take(BLOCK * z.Ep), *P = memory.take(BLOCK * z.Bp);
  T* fade = memory.take(BLOCK);
  T* kept = memory.take(per_group * Head<T>::size(z));
  auto head_of = [&](int64_t h) { return Head<T>(kept + h * Head<T>::size(z), z); };
  const T* queries = static_cast<const T*>(a.q) + b * a.q_batch + group * per_group * a.q_head + first * a.q_row;
  for (int64_t h = 0; h < per_group; h++) expect_rows(queries + h * a.q_head, a.q_row, q.count, z.E);
  for (int64_t h = 0; h < per_group; h++) {
    const Head<T> head = head_of(h);
    const T* from = queries + h * a.q_head;
    pack_transposed(from, a.q_row, q.count, z.E, head.Qeq, z.Bp);
    scale_rows(head.Qeq, z.E * z.Bp, T(a.scale));
    std::fill(head.Oqe, head.Oqe + BLOCK * z.Ep, T(0));
    std::fill(head.largest, head.largest + BLOCK, -std::numeric_limits<T>::infinity());
    std::fill(head.sum, head.sum + BLOCK, T(0));
  }
  for (int64_t begin = 0; begin < q.position + q.count; begin += BLOCK) {
    const Keys<T> k(a, q, begin);
    if (!k.seen) continue;
    const T* keys = static_cast<const T*>(a.k) + b * a.k_batch + group * a.k_head + begin * a.k_row;
    const T* values = static_cast<const T*>(a.v) + b * a.v_batch + group * a.v_head + begin * a.v_row;
    pack(keys, a.k_row, k.count, z.E, Kke, z.Ep);
    pack(values, a.v_row, k.count, z.E, Vke, z.Ep);
    for (int64_t h = 0; h < per_group; h++) {
      const Head<T> head = head_of(h);
      weigh(z, q, k, Kke, head, P, fade);
      for (int64_t e = 0; e < z.E; e += W)
        product<Old::FADED, T>({P, 1, z.Bp}, {Vke, z.Ep}, q.count, e, head.Oqe, z.Ep,
                               [&](int64_t i, int64_t rows) { return Bounds{0, k.before(q, i + rows)}; }, fade);
    }
  }
  for (int64_t h = 0; h < per_group; h++) {
    const Head<T> head = head_of(h);
    const int64_t number = group * per_group + h;
    T* y = static_cast<T*>(a.y) + b * a.y_batch + number * a.y_head + first * a.y_row;
    T* normaliser = static_cast<T*>(a.normaliser) + (b * a.heads + number) * a.length + first;
    for (int64_t i = 0; i < q.count; i++) {
      const T factor = T(1) / head.sum[i];
      for (int64_t e = 0; e < z.E; e += LANES<T>)
        store_part(y + i * a.y_row + e, load(head.Oqe + i * z.Ep + e) * factor, z.E - e);
      normaliser[i] = head.largest[i] + std::log(head.sum[i]);
    }
  }
}

template <class T> void forward(const AttentionArgs& a) {
  const int64_t blocks = (a.length + BLOCK - 1) / BLOCK;
  const Steps<T> z(a);
#pragma omp parallel for collapse(3) schedule(dynamic, 1) num_threads(a.threads)
  for (int64_t block = blocks - 1; block >= 0; block--)  // the longest first
    for (int64_t b = 0; b < a.batch; b++)
      for (int64_t group = 0; group < a.kv_heads; group++) {
        Scratch<T> memory(BLOCK * (2 * z.Ep + z.Bp + 1) + a.heads / a.kv_heads * Head<T>::size(z));
        forward_unit(a, b, group, block * BLOCK, memory);
      }
}

}  // namespace

extern "C" void attention_forward_f32(const AttentionArgs* a) { forward<float>(*a); }
extern "C" void attention_forward_f64(const AttentionArgs* a) { forward<double>(*a); }
