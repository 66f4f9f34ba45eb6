// A matrix in rows times a few vectors: y[b][r] = sum over i of w[r][i] x[b][i].
//
// The matrix is read once, whatever the number of vectors, and where it lies: nothing is packed. Every result is one
// chain of vector additions along i and one tree over the lanes, so that its bits depend on w[r] and x[b] alone:
// neither on the other vectors, nor on how rows are divided among threads.
#pragma once

#include <utility>

#include "simd.h"

template <class T, size_t... J> inline Vec<T> pick(Vec<T> a, Vec<T> b, std::integer_sequence<size_t, J...>) {
#if defined(__clang__)
  return __builtin_shufflevector(a, b, J...);
#else
  return __builtin_shuffle(a, b, Ints<T>{static_cast<Int<T>>(J)...});
#endif
}

// Where lane `lane` of the first (half 0) or second summand of `add_pairs` comes from, lanes of b behind those of a.
// Inside 16 bytes pieces of `run` lanes of a and b alternate; beyond, 16 bytes are one piece.
template <class T> constexpr size_t pair_source(size_t lane, size_t run, size_t half) {
  constexpr size_t lanes = LANES<T>, block = 16 / sizeof(T);
  if (run < block) {
    const size_t within = lane % block, piece = within / run;
    return (piece % 2) * lanes + lane / block * block + half * block / 2 + piece / 2 * run + within % run;
  }
  const size_t piece = 2 * (lane / block) + half, pieces = lanes / block;
  return piece / pieces * lanes + piece % pieces * block + lane % block;
}
template <class T, size_t RUN, size_t... J> inline Vec<T> add_pairs(Vec<T> a, Vec<T> b, std::index_sequence<J...>) {
  return pick<T>(a, b, std::index_sequence<pair_source<T>(J, RUN, 0)...>()) +
         pick<T>(a, b, std::index_sequence<pair_source<T>(J, RUN, 1)...>());
}

// Lane i: the sum of the lanes of v[i].
template <class T, size_t RUN = 1> [[gnu::always_inline]] inline Vec<T> lane_sums(Vec<T>* v) {
  if constexpr (RUN == LANES<T>) {
    return v[0];
  } else {
#pragma GCC unroll 8
    for (size_t i = 0; i < LANES<T> / RUN / 2; i++)
      v[i] = add_pairs<T, RUN>(v[2 * i], v[2 * i + 1], std::make_index_sequence<LANES<T>>());
    return lane_sums<T, 2 * RUN>(v);
  }
}

// Vectors: row b of them begins at base + index[b] * step, without an index at base + b * step.
template <class T> struct Rows {
  T* base;
  int64_t step;
  const int64_t* index = nullptr;
  T* operator[](int64_t b) const { return base + (index ? index[b] : b) * step; }
};

namespace skinny {

// Rows of a tile. A tile has LANES<T> results, COLUMNS vectors beside one another.
template <class T, int COLUMNS> constexpr int TILE_ROWS = LANES<T> / COLUMNS;

// How far ahead of itself a tile of several columns asks for the matrix: it computes too long for the processor to see
// the next rows by itself. A tile of one column has enough rows under way.
constexpr int64_t AHEAD_BYTES = 8192;

template <class T, int COLUMNS, bool ADD, bool FETCH>
inline void tile(const T* w, int64_t inner, int64_t rows, Rows<const T> x, Rows<T> y, int64_t row, int64_t column,
                 int64_t columns) {
  constexpr int ROWS = TILE_ROWS<T, COLUMNS>;
  const T *from[ROWS], *vectors[COLUMNS];
  for (int r = 0; r < ROWS; r++) from[r] = w + (row + std::min<int64_t>(r, rows - 1)) * inner;
  for (int c = 0; c < COLUMNS; c++) vectors[c] = x[column + std::min<int64_t>(c, columns - 1)];
  Vec<T> sum[LANES<T>] = {};
  int64_t i = 0;
  for (; i + LANES<T> <= inner; i += LANES<T>) {
    Vec<T> in[COLUMNS];
#pragma GCC unroll 4
    for (int c = 0; c < COLUMNS; c++) in[c] = load(vectors[c] + i);
#pragma GCC unroll 16
    for (int r = 0; r < ROWS; r++) {
      const Vec<T> weight = load(from[r] + i);
      if constexpr (FETCH) __builtin_prefetch(from[r] + i + AHEAD_BYTES / sizeof(T));
#pragma GCC unroll 4
      for (int c = 0; c < COLUMNS; c++) sum[c * ROWS + r] += weight * in[c];
    }
  }
  if (i < inner)
#pragma GCC unroll 4
    for (int c = 0; c < COLUMNS; c++) {
      const Vec<T> in = load_part(vectors[c] + i, inner - i);
#pragma GCC unroll 16
      for (int r = 0; r < ROWS; r++) sum[c * ROWS + r] += load_part(from[r] + i, inner - i) * in;
    }
  T done[LANES<T>];
  store(done, lane_sums<T>(sum));
  for (int64_t c = 0; c < columns; c++) {
    T* out = y[column + c] + row;
    for (int64_t r = 0; r < rows; r++)
      if constexpr (ADD)
        out[r] += done[c * ROWS + r];
      else
        out[r] = done[c * ROWS + r];
  }
}

// Rows first to last - 1, COLUMNS vectors beside one another, of which the last ones may be missing.
template <class T, int COLUMNS, bool ADD>
inline void tiles(const T* w, int64_t inner, int64_t first, int64_t last, Rows<const T> x, Rows<T> y, int64_t column,
                  int64_t columns) {
  constexpr int ROWS = TILE_ROWS<T, COLUMNS>;
  for (int64_t row = first; row < last; row += ROWS) {
    const int64_t rows = std::min<int64_t>(ROWS, last - row);
    if (COLUMNS > 1 && column == 0)
      tile<T, COLUMNS, ADD, true>(w, inner, rows, x, y, row, column, columns);
    else
      tile<T, COLUMNS, ADD, false>(w, inner, rows, x, y, row, column, columns);
  }
}

}  // namespace skinny

// y[b][r] = or, with ADD, += for rows first <= r < last and vectors b < batch.
template <class T, bool ADD = false>
void multiply(const T* w, int64_t inner, int64_t first, int64_t last, Rows<const T> x, int64_t batch, Rows<T> y) {
  for (int64_t row = first; row < last; row += LANES<T>) {
    const int64_t end = std::min<int64_t>(row + LANES<T>, last);
    int64_t column = 0;
    for (; batch - column > 2; column += 4)
      skinny::tiles<T, 4, ADD>(w, inner, row, end, x, y, column, std::min<int64_t>(4, batch - column));
    if (batch - column == 2)
      skinny::tiles<T, 2, ADD>(w, inner, row, end, x, y, column, 2);
    else if (batch - column == 1)
      skinny::tiles<T, 1, ADD>(w, inner, row, end, x, y, column, 1);
  }
}
