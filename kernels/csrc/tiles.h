// Products of small matrices in registers.
//
// A result is cut into tiles of up to TILE_ROWS rows and TILE_COLUMNS<T> columns. The left factor is read one number
// at a time, so it may lie in memory either way round; rows of the right factor and of the result are read as vectors,
// so their storage is padded to a multiple of TILE_COLUMNS<T>.
#pragma once

#include "simd.h"

constexpr int TILE_ROWS = 6;
template <class T> constexpr int TILE_COLUMNS = 2 * LANES<T>;

template <class T, int ROWS> struct Tile {
  Vec<T> v[ROWS][2] = {};

  // += left[i, k] * right[k, j] over first <= k < last; element (i, k) of left is left[i * row_step + k * k_step].
  [[gnu::always_inline]] inline void add_product(const T* left, int64_t row_step, int64_t k_step, const T* right,
                                                 int64_t right_step, int64_t first, int64_t last) {
    Vec<T> sum[ROWS][2];  // in registers
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; i++) sum[i][0] = v[i][0], sum[i][1] = v[i][1];
    const T* l = left + first * k_step;
    const T* r = right + first * right_step;
    for (int64_t k = first; k < last; k++, l += k_step, r += right_step) {
      const Vec<T> r0 = load(r), r1 = load(r + LANES<T>);
#pragma GCC unroll 8
      for (int i = 0; i < ROWS; i++) {
        const T s = l[i * row_step];
        sum[i][0] += s * r0;
        sum[i][1] += s * r1;
      }
    }
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; i++) v[i][0] = sum[i][0], v[i][1] = sum[i][1];
  }
};

template <class T, int ROWS, class Body> inline void one_tile(Body& body, int64_t row, int64_t column) {
  body.template operator()<ROWS>(row, column);
}

// Calls body<ROWS>(first row, first column) for tiles that cover rows x columns, column by column of tiles. Where the
// product is triangular, `last_row(column)` and `first_row(column)` bound the rows that matter.
template <class T, class Body> inline void for_tiles(int64_t row_begin, int64_t row_end, int64_t column, Body& body) {
  int64_t row = row_begin;
  while (row < row_end) {
    const int64_t left = row_end - row;
    if (left == 6 || left >= 12 || left == 11) {
      one_tile<T, 6>(body, row, column), row += 6;
    } else if (left == 5 || left == 9 || left == 10) {
      one_tile<T, 5>(body, row, column), row += 5;
    } else if (left >= 4) {
      one_tile<T, 4>(body, row, column), row += 4;
    } else if (left == 3) {
      one_tile<T, 3>(body, row, column), row += 3;
    } else if (left == 2) {
      one_tile<T, 2>(body, row, column), row += 2;
    } else {
      one_tile<T, 1>(body, row, column), row += 1;
    }
  }
}
