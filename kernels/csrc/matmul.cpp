// Products of large float32 matrices on processors with AMX (Intel's since Sapphire Rapids), whose tiles multiply
// bfloat16 numbers sixteen times as fast as vectors multiply float32.
//
// A float32 is the sum of three bfloat16 numbers, a = a1 + a2 + a3, each rounded from what those before it leave: 3 x 8
// bits of mantissa. Of the nine products of two such sums six are made, smallest first,
//
//   a b ~ a3 b1 + a2 b1 + a2 b2 + a1 b2 + a1 b1 + a1 b3,
//
// and those left out are below 2^-26 |a b|, a quarter of a unit in the last place. Sums are float32: along K each result
// is one chain, cut by K alone, so that its bits depend on neither the number of threads nor on the other rows and
// columns. Numbers below 2^-126 count as zero, and an infinity makes NaN of what it meets.
//
// Factors are packed in panels of 32 rows (of the left one) or columns (of the right one), a panel in blocks of 32 along
// K, a block as [piece][2] tiles. The left panels of a thread stay in its L2 cache while the right ones go by.
#include <omp.h>

#include <memory>

#include "simd.h"

extern "C" struct MatmulArgs {
  int64_t m, n, k, threads, add, then;
  int64_t left_row, left_k, right_column, right_k, out_row, squares_row;  // steps; one of each factor's two is 1
  const float *left, *right, *squares;
  float* out;
};

#if defined(__linux__) && defined(__AMX_BF16__) && defined(__AVX512BF16__) && defined(__AVX512BW__)

#include <sys/syscall.h>
#include <unistd.h>

namespace {

constexpr int64_t PIECES = 3, TILE = 16, PANEL = 2 * TILE, STEP = 32;
constexpr int64_t LINE = 64, TILE_BYTES = TILE * LINE, PIECE_BYTES = 2 * TILE_BYTES, BLOCK_BYTES = PIECES * PIECE_BYTES;
constexpr int64_t MOST_STEPS = 16, LEFT_BYTES = 768 << 10, MOST_RIGHT_PANELS = 128;
constexpr int64_t PIECES_OF_THREAD = 2, LEAST_GROUP = 4, FEW_RIGHT_PANELS = 4;

inline int64_t parts(int64_t whole, int64_t part) { return (whole + part - 1) / part; }

// All eight tiles are 16 rows of 64 bytes while this lives.
struct Tiles {
  Tiles() {
    struct __attribute__((packed)) {
      uint8_t palette, row;
      uint8_t reserved[14];
      uint16_t bytes[16];
      uint8_t rows[16];
    } config = {.palette = 1};
    for (int i = 0; i < 8; i++) config.bytes[i] = LINE, config.rows[i] = TILE;
    _tile_loadconfig(&config);
  }
  ~Tiles() { _tile_release(); }
};

// The two bfloat16 of each lane as float32.
inline __m512 even(__m512i pairs) { return (__m512)_mm512_slli_epi32(pairs, 16); }
inline __m512 odd(__m512i pairs) { return (__m512)_mm512_and_si512(pairs, _mm512_set1_epi32(int(0xffff0000))); }

inline __m512i round_pairs(__m512 low, __m512 high) {
  alignas(64) static constexpr uint16_t ALTERNATE[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                                         8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  return _mm512_permutexvar_epi16(_mm512_load_si512(ALTERNATE), (__m512i)_mm512_cvtne2ps_pbh(high, low));
}

inline void transpose_16x16(__m512i* r) {
  __m512i t[16];
  for (int i = 0; i < 16; i += 2)
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]), t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  for (int i = 0; i < 16; i += 4)
    for (int j = 0; j < 2; j++) {
      r[i + 2 * j] = _mm512_unpacklo_epi64(t[i + j], t[i + j + 2]);
      r[i + 2 * j + 1] = _mm512_unpackhi_epi64(t[i + j], t[i + j + 2]);
    }
  for (int i = 0; i < 16; i += 8)
    for (int j = 0; j < 4; j++) {
      t[i + j] = _mm512_shuffle_i32x4(r[i + j], r[i + j + 4], 0x88);
      t[i + j + 4] = _mm512_shuffle_i32x4(r[i + j], r[i + j + 4], 0xdd);
    }
  for (int j = 0; j < 8; j++) {
    r[j] = _mm512_shuffle_i32x4(t[j], t[j + 8], 0x88);
    r[j + 8] = _mm512_shuffle_i32x4(t[j], t[j + 8], 0xdd);
  }
}

inline __m512 first_of(const float* from, int64_t count) {
  return count <= 0 ? _mm512_setzero_ps() : (__m512)load_part(from, count);
}

// Up to 16 lines (rows of the left factor, columns of the right one) and 32 along K as a tile of each piece. A tile of the
// left factor has a line in each row, one of the right factor two k of all lines. ALONG: a row of memory is a line, else
// one k of all lines.
template <bool ALONG, bool LEFT>
inline void pack_tile(const float* from, int64_t row, int64_t lines, int64_t ks, char* to) {
  __m512i pieces[PIECES][TILE];
  for (int i = 0; i < TILE; i++) {
    __m512 low, high;
    if constexpr (ALONG) {
      const int64_t count = i < lines ? ks : 0;
      low = first_of(from + i * row, count), high = first_of(from + i * row + TILE, count - TILE);
    } else {
      low = first_of(from + 2 * i * row, 2 * i < ks ? lines : 0);
      high = first_of(from + (2 * i + 1) * row, 2 * i + 1 < ks ? lines : 0);
    }
    for (int piece = 0; piece < PIECES; piece++) {
      if constexpr (ALONG) {
        const __m512i rounded = (__m512i)_mm512_cvtne2ps_pbh(high, low);
        pieces[piece][i] = rounded;
        low -= even(_mm512_cvtepu16_epi32(_mm512_castsi512_si256(rounded)));
        high -= even(_mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(rounded, 1)));
      } else {
        const __m512i rounded = pieces[piece][i] = round_pairs(low, high);
        low -= even(rounded), high -= odd(rounded);
      }
    }
  }
  for (int piece = 0; piece < PIECES; piece++) {
    if constexpr (ALONG != LEFT) transpose_16x16(pieces[piece]);
    for (int i = 0; i < TILE; i++) _mm512_store_si512(to + piece * PIECE_BYTES + i * LINE, pieces[piece][i]);
  }
}

// A factor, or a part of it: `lines` rows or columns, `ks` of each.
struct Factor {
  const float* from;
  int64_t line_step, k_step, lines, ks;

  Factor part(int64_t line, int64_t k) const {
    return {from + line * line_step + k * k_step, line_step, k_step, lines - line, ks - k};
  }
};

// Panels of so many steps, in the order in which memory has them.
template <bool LEFT> void pack(const Factor& f, int64_t panels, int64_t steps, char* to) {
  const bool along = f.k_step == 1;
  for (int64_t outer = 0; outer < (along ? panels : steps); outer++)
    for (int64_t inner = 0; inner < (along ? steps : panels); inner++) {
      const int64_t panel = along ? outer : inner, step = along ? inner : outer;
      for (int64_t half = 0; half < 2; half++) {
        const Factor g = f.part(panel * PANEL + half * TILE, step * STEP);
        char* t = to + (panel * steps + step) * BLOCK_BYTES + half * TILE_BYTES;
        if (along)
          pack_tile<true, LEFT>(g.from, g.line_step, g.lines, g.ks, t);
        else
          pack_tile<false, LEFT>(g.from, g.k_step, g.lines, g.ks, t);
      }
    }
}

#define LOAD_LEFT(piece) \
  _tile_loadd(4, left + piece * PIECE_BYTES, LINE); \
  _tile_loadd(5, left + piece * PIECE_BYTES + TILE_BYTES, LINE)
#define LOAD_RIGHT(piece) \
  _tile_loadd(6, right + piece * PIECE_BYTES, LINE); \
  _tile_loadd(7, right + piece * PIECE_BYTES + TILE_BYTES, LINE)
#define MULTIPLY() \
  _tile_dpbf16ps(0, 4, 6); \
  _tile_dpbf16ps(1, 4, 7); \
  _tile_dpbf16ps(2, 5, 6); \
  _tile_dpbf16ps(3, 5, 7)

// 32 x 32 results. In every step so many lines of the panel that comes `next` are brought nearer.
void multiply(const char* left, const char* right, int64_t steps, float* out, int64_t out_row, bool add,
              const char* next, int64_t lines) {
  const int64_t bytes = out_row * int64_t(sizeof(float));
  float* below = out + TILE * out_row;
  asm volatile("" ::: "memory");  // what was written before is read by tiles, of which compilers do not know
  if (add) {
    _tile_loadd(0, out, bytes);
    _tile_loadd(1, out + TILE, bytes);
    _tile_loadd(2, below, bytes);
    _tile_loadd(3, below + TILE, bytes);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  for (int64_t step = 0; step < steps; step++, left += BLOCK_BYTES, right += BLOCK_BYTES, next += lines * LINE) {
    LOAD_LEFT(2);
    LOAD_RIGHT(0);
    for (int64_t line = 0; line < lines; line++) _mm_prefetch(next + line * LINE, _MM_HINT_T1);
    MULTIPLY();
    LOAD_LEFT(1);
    MULTIPLY();
    LOAD_RIGHT(1);
    MULTIPLY();
    LOAD_LEFT(0);
    MULTIPLY();
    LOAD_RIGHT(0);
    MULTIPLY();
    LOAD_RIGHT(2);
    MULTIPLY();
  }
  _tile_stored(0, out, bytes);
  _tile_stored(1, out + TILE, bytes);
  _tile_stored(2, below, bytes);
  _tile_stored(3, below + TILE, bytes);
}

// What becomes of a product x: max(x, 0)^2, or 2 sqrt(s) x, the gradient through such a square s.
enum Then : int64_t { NOTHING, SQUARED_RELU, SQUARED_RELU_GRADIENT };

// Rows and columns of the results from (row, column) on.
void finish(const MatmulArgs& a, int64_t row, int64_t column, int64_t rows, int64_t columns) {
  for (int64_t i = row; i < row + rows; i++)
    for (int64_t j = 0; j < columns; j += LANES<float>) {
      float* out = a.out + i * a.out_row + column + j;
      const Vec<float> x = load_part(out, columns - j);
      if (a.then == SQUARED_RELU) {
        const Vec<float> kept = x < 0.0f ? Vec<float>{} : x;  // NaN stays
        store_part(out, kept * kept, columns - j);
      } else {
        const Vec<float> square = load_part(a.squares + i * a.squares_row + column + j, columns - j);
        store_part(out, 2.0f * root<float>(square) * x, columns - j);
      }
    }
}

// 32 rows and columns of results from (row, column) on, or those that there are, which go through a whole panel.
void multiply_panel(const MatmulArgs& a, const char* left, const char* right, int64_t steps, int64_t row,
                    int64_t column, bool add, bool last, const char* next, int64_t lines) {
  const int64_t rows = std::min(PANEL, a.m - row), columns = std::min(PANEL, a.n - column);
  float* out = a.out + row * a.out_row + column;
  if (rows == PANEL && columns == PANEL) {
    multiply(left, right, steps, out, a.out_row, add, next, lines);
  } else {
    alignas(64) float whole[PANEL * PANEL];
    for (int64_t i = 0; add && i < rows; i++) std::copy_n(out + i * a.out_row, columns, whole + i * PANEL);
    multiply(left, right, steps, whole, PANEL, add, next, lines);
    for (int64_t i = 0; i < rows; i++) std::copy_n(whole + i * PANEL, columns, out + i * a.out_row);
  }
  if (last && a.then != NOTHING) finish(a, row, column, rows, columns);
}

// The shape of the work. There are two pieces of it for each thread, which take them as they come: cores of a shared
// machine are not equally fast.
struct Plan {
  int64_t rows, columns, steps;  // panels of the left and the right factor, blocks along K
  int64_t depth;                 // blocks along K that are packed at a time
  int64_t group, groups;         // left panels that a thread packs together
  int64_t shares;                // of the right panels, where there are few groups
  int64_t width;                 // right panels that are packed at a time

  explicit Plan(const MatmulArgs& a)
      : rows(parts(a.m, PANEL)), columns(parts(a.n, PANEL)), steps(parts(a.k, STEP)),
        depth(parts(steps, parts(steps, MOST_STEPS))) {
    const int64_t pieces = a.threads == 1 ? 1 : PIECES_OF_THREAD * a.threads;
    const int64_t fitting = std::max<int64_t>(1, LEFT_BYTES / (depth * BLOCK_BYTES));
    group = std::min(fitting, std::max(LEAST_GROUP, parts(rows, pieces))), groups = parts(rows, group);
    width = std::min(columns, MOST_RIGHT_PANELS);
    shares = std::min(parts(pieces, groups), width);
  }
  int64_t left_bytes() const { return group * depth * BLOCK_BYTES; }  // of a thread
  int64_t right_bytes() const { return width * depth * BLOCK_BYTES; }
};

// Memory of the calling thread that is kept: fresh memory costs more than filling it.
char* kept_memory(int64_t bytes) {
  thread_local std::unique_ptr<Scratch<char>> scratch;
  thread_local char* begin = nullptr;
  thread_local int64_t room = 0;
  if (bytes > room) {
    scratch.reset();
    scratch = std::make_unique<Scratch<char>>(bytes);
    begin = scratch->take(bytes), room = bytes;
  }
  return begin;
}

void matmul(const MatmulArgs& a) {
  const Factor left{a.left, a.left_row, a.left_k, a.m, a.k}, right{a.right, a.right_column, a.right_k, a.n, a.k};
  const Plan plan(a);
  char* packed_right = kept_memory(plan.right_bytes() + a.threads * plan.left_bytes());
#pragma omp parallel num_threads(a.threads)
  {
    char* packed_left = packed_right + plan.right_bytes() + omp_get_thread_num() * plan.left_bytes();
    const Tiles tiles;
    for (int64_t q0 = 0; q0 < plan.columns; q0 += plan.width)
      for (int64_t s0 = 0; s0 < plan.steps; s0 += plan.depth) {
        const int64_t steps = std::min(plan.depth, plan.steps - s0), bytes = steps * BLOCK_BYTES;
        const int64_t across = std::min(plan.width, plan.columns - q0);
#pragma omp for schedule(dynamic, 1)
        for (int64_t q = 0; q < across; q += FEW_RIGHT_PANELS)
          pack<false>(right.part((q0 + q) * PANEL, s0 * STEP), std::min(FEW_RIGHT_PANELS, across - q), steps,
                      packed_right + q * bytes);
        int64_t packed = -1;
#pragma omp for schedule(dynamic, 1)
        for (int64_t item = 0; item < plan.groups * plan.shares; item++) {
          const int64_t p0 = item / plan.shares * plan.group, p1 = std::min(plan.rows, p0 + plan.group);
          const int64_t share = item % plan.shares, lines = parts(BLOCK_BYTES / LINE, p1 - p0);
          if (packed != p0) pack<true>(left.part(p0 * PANEL, s0 * STEP), p1 - p0, steps, packed_left), packed = p0;
          for (int64_t q = across * share / plan.shares; q < across * (share + 1) / plan.shares; q++)
            for (int64_t p = p0; p < p1; p++)
              multiply_panel(a, packed_left + (p - p0) * bytes, packed_right + q * bytes, steps, p * PANEL,
                             (q0 + q) * PANEL, a.add || s0 > 0, s0 + steps == plan.steps,
                             packed_right + (q + 1) * bytes + (p - p0) * lines * steps * LINE, lines);
        }
      }
  }
}

}  // namespace

// Whether the system lets this process use tiles (ARCH_REQ_XCOMP_PERM for their data).
extern "C" int64_t matmul_usable() { return syscall(SYS_arch_prctl, 0x1023, 18) == 0; }
extern "C" void matmul_f32(const MatmulArgs* a) { matmul(*a); }

#else

extern "C" int64_t matmul_usable() { return 0; }
extern "C" void matmul_f32(const MatmulArgs*) { std::abort(); }

#endif
