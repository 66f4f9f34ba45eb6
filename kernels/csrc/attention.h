// Causal attention: what forward and backward have in common. kernels/attention.py states the operation,
// kernels/attention_cpu.py calls it.
//
// Queries are the last positions of the keys. Scores are made for a block of queries and a block of keys at a time, as
// [key][query], so that the softmax of a query runs down a column and vectors hold queries; blocks in which no query
// sees a key are left out. Matrices carry in their names what they hold: Qqe is a block of queries as [query][E], Qeq
// its transpose.
//
// Forward, a unit of work is a block of queries of the heads that share keys, and walks through the keys with the
// largest score m and the sum l of exp(score - m) of every query; m + log(l) is kept. Backward, a unit is a few of the
// heads that share keys and sums the gradients of keys and values over them in their order. Units are cut by shape alone:
// results do not depend on the number of threads.
#pragma once

#include "pack.h"

extern "C" struct AttentionArgs {
  int64_t batch, heads, kv_heads, length, keys, head_dim, block, threads;
  int64_t q_batch, q_head, q_row, k_batch, k_head, k_row, v_batch, v_head, v_row, y_batch, y_head, y_row;
  int64_t dy_batch, dy_head, dy_row, dq_batch, dq_head, dq_row, dkv_part, dkv_batch, dkv_head, dkv_row;
  double scale;
  const void *q, *k, *v;
  const int32_t* documents;  // [batch][keys], or null
  void *y, *normaliser;      // normaliser [batch][heads][length]
  const void* dy;
  void *dq, *dk, *dv;  // dk and dv once for each part of the heads that share keys
};

namespace {

constexpr int64_t BLOCK = 64;  // queries, and keys, that are taken at once

// The queries of a block: the positions among the keys, and the documents.
template <class T> struct Queries {
  const int32_t* documents;  // of the row's keys, or null
  int64_t count, position;   // of the first
  int32_t low = 0, high = 0;
  Int<T> of[BLOCK] = {};

  Queries(const AttentionArgs& a, int64_t b, int64_t first)
      : documents(a.documents ? a.documents + b * a.keys : nullptr),
        count(std::min(BLOCK, a.length - first)), position(a.keys - a.length + first) {
    if (documents == nullptr) return;
    for (int64_t i = 0; i < count; i++) of[i] = documents[position + i];
    range(position, count, low, high);
  }

  void range(int64_t begin, int64_t size, int32_t& least, int32_t& most) const {
    least = most = documents[begin];
    for (int64_t i = begin + 1; i < begin + size; i++) {
      least = std::min(least, documents[i]);
      most = std::max(most, documents[i]);
    }
  }
};

// A block of keys for a block of queries.
template <class T> struct Keys {
  int64_t first, count;
  bool seen = true, mixed = false;  // by any query; documents have to be compared

  Keys(const AttentionArgs& a, const Queries<T>& q, int64_t begin) : first(begin), count(std::min(BLOCK, a.keys - begin)) {
    if (q.documents == nullptr) return;
    int32_t low, high;
    q.range(first, count, low, high);
    seen = low <= q.high && q.low <= high;
    mixed = low != high || q.low != q.high;
  }

  // How many of these keys the queries before the `query`th of the block may see.
  int64_t before(const Queries<T>& q, int64_t query) const {
    return std::clamp<int64_t>(q.position + query - first, 0, count);
  }
};

// What queries do not see becomes `hidden` in a matrix [key][query], in whose columns [begin, end) rows up to `rows` count.
template <class T>
void hide(const Queries<T>& q, const Keys<T>& k, T* matrix, int64_t step, int64_t begin, int64_t end, int64_t rows, T hidden) {
  using I = Ints<T>;
  const int64_t distance = q.position - k.first;  // of the first query from the first key
  I lane;
  for (int i = 0; i < LANES<T>; i++) lane[i] = i;
  for (int64_t j = k.mixed ? 0 : std::max<int64_t>(0, distance + begin + 1); j < rows; j++)
    for (int64_t i = begin; i < end; i += LANES<T>) {
      Vec<T> v = load(matrix + j * step + i);
      v = lane + Int<T>(distance + i) < Int<T>(j) ? splat(hidden) : v;
      if (k.mixed) v = load_ints<T>(q.of + i) != Int<T>(q.documents[k.first + j]) ? splat(hidden) : v;
      store(matrix + j * step + i, v);
    }
}

// Rows that the second-level cache should have when they are asked for.
template <class T> void expect_rows(const T* from, int64_t step, int64_t rows, int64_t columns) {
  for (int64_t i = 0; i < rows; i++)
    for (int64_t j = 0; j < columns; j += 64 / int64_t(sizeof(T))) __builtin_prefetch(from + i * step + j, 0, 2);
}

// E, and steps between rows of E and of BLOCK numbers.
template <class T> struct Steps {
  int64_t E, Ep, Bp;
  explicit Steps(const AttentionArgs& a) : E(a.head_dim), Ep(step_of<T>(E)), Bp(step_of<T>(BLOCK)) {}
};

template <class T> void scale_rows(T* rows, int64_t count, T factor) {
  for (int64_t i = 0; i < count; i += LANES<T>) store(rows + i, load(rows + i) * factor);
}

// Element (i, k) of a matrix is at[i * row + k * column].
template <class T> struct Left {
  const T* at;
  int64_t row, column;
};
template <class T> struct Right {
  const T* at;
  int64_t step;
};

// What becomes of a result that is there: nothing, or it is added to, after its rows were multiplied by factors.
enum class Old { DROPPED, KEPT, FADED };

// Over which k a product runs.
struct Bounds {
  int64_t first, last;
};

// The columns [column, column + TILE_COLUMNS) of `rows` rows of left * right over the k that `bounds` says for each tile.
// Not inlined: the registers are its own.
template <Old OLD, class T, class Limits>
[[gnu::noinline]] void product(Left<T> left, Right<T> right, int64_t rows, int64_t column, T* to, int64_t step,
                               Limits bounds, const T* factor = nullptr) {
  auto body = [&]<int ROWS>(int64_t row, int64_t j) {
    T* here = to + row * step + j;
    Tile<T, ROWS> tile;
    if constexpr (OLD != Old::DROPPED) {
#pragma GCC unroll 8
      for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 2
        for (int c = 0; c < 2; c++) {
          tile.v[i][c] = load(here + i * step + c * LANES<T>);
          if constexpr (OLD == Old::FADED) tile.v[i][c] *= factor[row + i];
        }
    }
    const Bounds k = bounds(row, ROWS);
    tile.add_product(left.at + row * left.row, left.row, left.column, right.at + j, right.step, k.first, k.last);
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 2
      for (int c = 0; c < 2; c++) store(here + i * step + c * LANES<T>, tile.v[i][c]);
  };
  for_tiles<T>(0, rows, column, body);
}

}  // namespace
