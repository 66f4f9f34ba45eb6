// One token through a layer of experts: router, shared expert, and the chosen experts, on the stream or on a projection
// of it. Each matrix is read once for all rows that need it, those of experts that nobody chose not at all.
#pragma once

#include <vector>

#include "decode.h"

inline Need experts_need(const DecodeArgs& a, const DecodeLayer& l) {
  const int64_t pairs = a.batch * l.chosen;
  return {a.batch * (l.experts + l.width + 2 * l.expert_dim) + pairs * l.expert_width,
          a.batch * a.width + 2 * l.experts + l.expert_groups};
}

// Which rows chose which expert: those of expert e are row[i] with weight[i] for begin[e] <= i < begin[e + 1].
template <class T> struct Choice {
  std::vector<int64_t> begin, row;
  std::vector<T> weight;
};

// Indices of the `count` largest of `from`, NaN above all, of equal ones the first; `from` is spoiled.
template <class T> inline void take_largest(T* from, int64_t n, int64_t count, int64_t* found) {
  for (int64_t i = 0; i < count; i++) {
    found[i] = std::max_element(from, from + n, [](T a, T b) { return a < b || (b != b && a == a); }) - from;
    from[found[i]] = -std::numeric_limits<T>::infinity();
  }
}

// logits [batch][experts]; `room` holds 2 * experts + expert_groups numbers.
template <class T> inline Choice<T> choose(const DecodeLayer& l, int64_t batch, const T* logits, T* room) {
  const int64_t N = l.experts, K = l.chosen, size = N / l.expert_groups;
  std::vector<int64_t> chosen(batch * K), open(l.open_groups), best(2);
  std::vector<T> weight(batch * K);
  T *score = room, *rank = room + N, *group = room + 2 * N;
  for (int64_t b = 0; b < batch; b++) {
    for (int64_t e = 0; e < N; e++) {
      score[e] = T(1) / (T(1) + std::exp(-logits[b * N + e]));
      rank[e] = score[e] + T(l.router_bias[e]);
    }
    if (l.open_groups < l.expert_groups) {
      for (int64_t g = 0; g < l.expert_groups; g++) {
        const T* of = rank + g * size;
        T first = std::max(of[0], of[1]), second = std::min(of[0], of[1]);
        for (int64_t e = 2; e < size; e++) second = std::max(second, std::min(first, of[e])), first = std::max(first, of[e]);
        group[g] = first + second;
      }
      take_largest(group, l.expert_groups, l.open_groups, open.data());
      for (int64_t e = 0; e < N; e++)
        if (std::find(open.begin(), open.end(), e / size) == open.end()) rank[e] = -std::numeric_limits<T>::infinity();
    }
    int64_t* mine = chosen.data() + b * K;
    take_largest(rank, N, K, mine);
    std::sort(mine, mine + K);
    T total = T(0);
    for (int64_t k = 0; k < K; k++) total += score[mine[k]];
    const T factor = T(l.scale) / (l.normalised ? total + T(1e-20) : T(1));
    for (int64_t k = 0; k < K; k++) weight[b * K + k] = score[mine[k]] * factor;
  }
  Choice<T> found{std::vector<int64_t>(N + 1), std::vector<int64_t>(batch * K), std::vector<T>(batch * K)};
  for (const int64_t e : chosen) found.begin[e + 1]++;
  for (int64_t e = 0; e < N; e++) found.begin[e + 1] += found.begin[e];
  std::vector<int64_t> next(found.begin);
  for (int64_t i = 0; i < batch * K; i++) {
    const int64_t at = next[chosen[i]]++;
    found.row[at] = i / K;
    found.weight[at] = weight[i];
  }
  return found;
}

template <class T> void Worker<T>::experts(const DecodeLayer& l) const {
  const int64_t N = l.experts, X = l.expert_dim, M = l.expert_width;
  T *logits = shared, *wide = logits + a.batch * N, *latent = wide + a.batch * l.width, *sum = latent + a.batch * X;
  T* inner = sum + a.batch * X;  // [pairs of expert and row][M]
  const Rows<const T> in = normed(l.norm), from = l.latent_in ? Rows<const T>{latent, X} : in;
  product(l.router, N, a.width, in, {logits, N});
  const auto [first, last] = product(l.in_proj, l.width, a.width, in, {wide, l.width});
  square_positive<T>({wide, l.width}, a.batch, first, last);
  if (l.latent_in) product(l.latent_in, X, a.width, in, {latent, X});
  wait();

  const Choice<T> choice = choose(l, a.batch, logits, own + a.batch * a.width);
  const auto for_experts = [&](auto&& body) {
    for (int64_t e = 0; e < N; e++) {
      const int64_t begin = choice.begin[e], rows = choice.begin[e + 1] - begin;
      if (rows) body(e, begin, rows);
    }
  };
  for_experts([&](int64_t e, int64_t begin, int64_t rows) {
    const auto [top, bottom] = share(M, LANES<T>);
    const Rows<T> to{inner + begin * M, M};
    multiply<T>(at(l.up, e * M * X), X, top, bottom, {from.base, X, &choice.row[begin]}, rows, to);
    square_positive(to, rows, top, bottom);
    for (int64_t i = 0; i < rows; i++)
      for (int64_t m = top; m < bottom; m++) to[i][m] *= choice.weight[begin + i];
  });
  const auto [top, bottom] = share(X, LANES<T>);
  if (l.latent_in)
    for (int64_t b = 0; b < a.batch; b++) std::fill(sum + b * X + top, sum + b * X + bottom, T(0));
  wait();

  T* target = l.latent_in ? sum : x;
  for_experts([&](int64_t e, int64_t begin, int64_t rows) {
    multiply<T, true>(at(l.down, e * X * M), M, top, bottom, {inner + begin * M, M}, rows,
                      {target, X, &choice.row[begin]});
  });
  add_product(l.out_proj, l.width, {wide, l.width});
  wait();
  if (l.latent_in) {
    add_product(l.latent_out, X, {sum, X});
    wait();
  }
}
