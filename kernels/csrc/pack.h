// Copies of matrices with the room behind their rows that tiles ask for.
#pragma once

#include "tiles.h"

namespace {

constexpr int64_t AHEAD = 6;  // rows: those of a large step lie on pages of their own, which no processor foresees

// Copy rows [rows][columns] with a step into [rows][padded], zeros behind.
template <class T>
void pack(const T* from, int64_t step, int64_t rows, int64_t columns, T* to, int64_t padded) {
  for (int64_t i = 0; i < rows; i++) {
    const T* f = from + i * step;
    T* t = to + i * padded;
    if (i + AHEAD < rows) expect(f + AHEAD * step, columns);
    for (int64_t j = 0; j < padded; j += LANES<T>)
      store(t + j, j < columns ? load_part(f + j, columns - j) : Vec<T>{});
  }
}

// [rows][columns] -> [columns][padded], zeros behind.
template <class T>
void pack_transposed(const T* from, int64_t step, int64_t rows, int64_t columns, T* to, int64_t padded) {
  transpose(from, step, rows, columns, to, padded);
  if (rows < padded)
    for (int64_t j = 0; j < columns; j++) std::fill(to + j * padded + rows, to + (j + 1) * padded, T(0));
}

// The step between rows of `columns` numbers: room for whole tiles, and an odd number of cache lines, so that rows one
// below the other do not compete for the same lines of the cache.
template <class T> int64_t step_of(int64_t columns) {
  constexpr int64_t LINE = 64 / sizeof(T);
  const int64_t step = round_up(columns, TILE_COLUMNS<T>);
  return step / LINE % 2 ? step : step + LINE;
}

}  // namespace
