// One token through an attention layer. Keys are taken in pieces of a fixed length from the row's first one on, each
// piece by one thread, and the pieces joined: what a row gets depends on its own keys alone.
#pragma once

#include "decode.h"

constexpr int64_t PIECE = 256;

inline int64_t pieces_of(const DecodeArgs& a, int64_t b) { return (a.length - a.padding[b]) / PIECE + 1; }
inline int64_t most_pieces(const DecodeArgs& a) {
  int64_t most = 0;
  for (int64_t b = 0; b < a.batch; b++) most = std::max(most, pieces_of(a, b));
  return most;
}

inline Need attention_need(const DecodeArgs& a, const DecodeLayer& l) {
  const int64_t per_group = l.heads / l.kv_heads;
  const int64_t partial = a.batch * most_pieces(a) * l.heads * (l.head_dim + 2);
  return {a.batch * (2 * l.heads + 2 * l.kv_heads) * l.head_dim + partial,
          std::max(a.batch * a.width, per_group * (l.head_dim + PIECE))};
}

// q is scaled. `partial` of a head: the largest score, the sum of exp(score - largest), and the values so weighted.
template <class T>
inline void attend(const T* keys, const T* values, int64_t count, Rows<const T> q, int64_t heads, int64_t head_dim,
                   T* scores, T* partial) {
  multiply<T>(keys, head_dim, 0, count, q, heads, Rows<T>{scores, PIECE});
  for (int64_t h = 0; h < heads; h++) {
    T *p = scores + h * PIECE, *out = partial + h * (head_dim + 2);
    const T largest = *std::max_element(p, p + count);
    Vec<T> total{};
    for (int64_t t = 0; t < count; t += LANES<T>) {
      const Vec<T> weight = exp_of(load_part(p + t, count - t) - largest);
      store_part(p + t, weight, count - t);
      total += load_part(p + t, count - t);
    }
    out[0] = largest;
    out[1] = sum_lanes<T>(total);
    for (int64_t i = 0; i < head_dim; i += 4 * LANES<T>) {
      Vec<T> sum[4] = {};
      for (int64_t t = 0; t < count; t++)
        for (int64_t j = 0; j < 4; j++) {
          const int64_t from = i + j * LANES<T>;
          if (from < head_dim) sum[j] += p[t] * load_part(values + t * head_dim + from, head_dim - from);
        }
      for (int64_t j = 0; j < 4; j++) {
        const int64_t from = i + j * LANES<T>;
        if (from < head_dim) store_part(out + 2 + from, sum[j], head_dim - from);
      }
    }
  }
}

template <class T> void Worker<T>::attention(const DecodeLayer& l, const DecodeMemory& m) const {
  const int64_t D = l.head_dim, q_width = l.heads * D, kv_width = l.kv_heads * D, all = q_width + 2 * kv_width;
  const int64_t per_group = l.heads / l.kv_heads, most = most_pieces(a), each = D + 2;
  T *partial = shared + a.batch * all, *joined = partial + a.batch * most * l.heads * each;
  const Rows<const T> in = normed(l.norm);
  product(l.q, q_width, a.width, in, {shared, all});
  product(l.k, kv_width, a.width, in, {shared + q_width, all});
  product(l.v, kv_width, a.width, in, {shared + q_width + kv_width, all});
  wait();

  const auto [begin, end] = share(a.batch * l.kv_heads * most);
  for (int64_t unit = begin; unit < end; unit++) {
    const int64_t b = unit / (l.kv_heads * most), head = unit / most % l.kv_heads, piece = unit % most;
    if (piece >= pieces_of(a, b)) continue;
    const int64_t first = a.padding[b] + piece * PIECE, count = std::min(PIECE, a.length + 1 - first);
    const int64_t base = (b * l.kv_heads + head) * m.capacity;
    T *keys = static_cast<T*>(m.first) + base * D, *values = static_cast<T*>(m.second) + base * D;
    if (first + count == a.length + 1) {
      const T *k = shared + b * all + q_width + head * D, *v = k + kv_width;
      const auto append = [&](const T* from, const void* norm, T* to) {
        if (norm)
          rms_norm(from, at(norm), D, a.eps, to);
        else
          std::copy(from, from + D, to);
      };
      append(k, l.k_norm, keys + a.length * D);
      append(v, l.v_norm, values + a.length * D);
    }
    T *q = own, *scores = own + per_group * D;
    const T scale = T(1) / std::sqrt(T(D));
    for (int64_t g = 0; g < per_group; g++) {
      const T* from = shared + b * all + (head * per_group + g) * D;
      if (l.q_norm)
        rms_norm(from, at(l.q_norm), D, a.eps, q + g * D);
      else
        std::copy(from, from + D, q + g * D);
    }
    for (int64_t i = 0; i < per_group * D; i++) q[i] *= scale;
    attend<T>(keys + first * D, values + first * D, count, {q, D}, per_group, D, scores,
              partial + ((b * most + piece) * l.heads + head * per_group) * each);
  }
  wait();

  const auto [from, to] = share(a.batch * l.heads);
  for (int64_t unit = from; unit < to; unit++) {
    const int64_t b = unit / l.heads, pieces = pieces_of(a, b);
    const T* part = partial + (b * most * l.heads + unit % l.heads) * each;
    T largest = part[0], total = T(0), *y = joined + unit * D;
    for (int64_t i = 1; i < pieces; i++) largest = std::max(largest, part[i * l.heads * each]);
    std::fill(y, y + D, T(0));
    for (int64_t i = 0; i < pieces; i++) {
      const T *here = part + i * l.heads * each, weight = std::exp(here[0] - largest);
      total += weight * here[1];
      for (int64_t d = 0; d < D; d++) y[d] += weight * here[2 + d];
    }
    for (int64_t d = 0; d < D; d++) y[d] /= total;
  }
  wait();
  add_product(l.out_proj, q_width, {joined, q_width});
  wait();
}
