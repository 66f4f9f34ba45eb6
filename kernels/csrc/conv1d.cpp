// Causal depthwise convolution and SiLU, forward and backward. kernels/conv1d.py states the operation.
//
// A unit of work is a strip of channels of a segment of positions of a batch row; positions are taken a few at a time,
// with what they share in registers. Units are cut by shape alone. Nothing is summed across them but the gradients of
// filter and bias, which are kept per unit of positions.
#include "simd.h"

extern "C" struct ConvArgs {
  int64_t batch, length, channels, width, segment, threads;
  int64_t x_batch, x_row, y_batch, y_row, dx_batch, dx_row;
  const void *x, *weight, *bias, *state;  // weight [channels][width], state [batch][width - 1][channels]
  const int64_t* seq_idx;
  void* y;
  const void* dy;
  void *dx, *dweight, *dbias, *dstate;  // dweight [batch][segments][width][channels], dbias [batch][segments][channels]
};

namespace {

constexpr int64_t STRIP = 256;
constexpr int64_t MOST_TAPS = 8;
constexpr int64_t MOST_ROWS = 4;
constexpr int64_t AHEAD = 4;  // positions: rows of a large step lie on pages of their own, which no processor foresees

// For position t: the first of the taps that are of its document.
int64_t first_tap(const int64_t* seq, int64_t t, int64_t width) {
  int64_t back = 0;
  while (back < width - 1 && (seq == nullptr || t - back - 1 < 0 || seq[t - back - 1] == seq[t])) back++;
  return width - 1 - back;
}

// K taps; ROWS positions at a time. CUT: a tap may meet another document.
template <class T, int K> struct Strip {
  static constexpr int S = K - 1;
  static constexpr int ROWS = K <= 4 ? MOST_ROWS : 1;  // what fits in registers
  const ConvArgs& a;
  int64_t b, begin, count;
  const T *x, *state;
  const int64_t* seq;
  alignas(64) T zeros[STRIP] = {}, weight[K][STRIP] = {}, bias[STRIP] = {};

  Strip(const ConvArgs& args, int64_t batch, int64_t first)
      : a(args), b(batch), begin(first), count(std::min(STRIP, args.channels - first)),
        x(static_cast<const T*>(args.x) + batch * args.x_batch + first),
        state(args.state ? static_cast<const T*>(args.state) + batch * S * args.channels + first : nullptr),
        seq(args.seq_idx ? args.seq_idx + batch * args.length : nullptr) {
    for (int64_t c = 0; c < count; c++) {
      for (int k = 0; k < K; k++) weight[k][c] = static_cast<const T*>(a.weight)[(begin + c) * K + k];
      bias[c] = static_cast<const T*>(a.bias)[begin + c];
    }
  }
  // Inputs of position t, which may lie before the sequence.
  const T* input(int64_t t) const {
    if (t >= 0) return x + t * a.x_row;
    return state ? state + (S + t) * a.channels : zeros;
  }
  // Whether a tap of the positions [t, t + rows) meets another document, and which is the first that does not.
  bool cut(int64_t t, int64_t rows, int64_t* first) const {
    bool any = false;
    for (int64_t i = 0; i < rows; i++) {
      first[i] = t + i < a.length ? first_tap(seq, t + i, K) : 0;
      any |= first[i] != 0;
    }
    return any;
  }
  // s[i] = the sum before SiLU of position t + i, from the inputs of t - K + 1 ... t + R - 1.
  template <int R, bool CUT>
  [[gnu::always_inline]] inline void sums(const Vec<T> (&in)[R + S], const int64_t* first, int64_t c, Vec<T> (&s)[R]) const {
    for (int i = 0; i < R; i++) s[i] = load(bias + c);
#pragma GCC unroll 8
    for (int k = 0; k < K; k++) {
      const Vec<T> w = load(weight[k] + c);
#pragma GCC unroll 8
      for (int i = 0; i < R; i++)
        if (!CUT || k >= first[i]) s[i] += w * in[i + k];
    }
  }
  template <int R> [[gnu::always_inline]] inline void inputs(const T* const (&rows)[R + S], int64_t c, Vec<T> (&in)[R + S]) const {
#pragma GCC unroll 16
    for (int i = 0; i < R + S; i++) in[i] = load_part(rows[i] + c, count - c);
  }
  template <int R> void rows_of(int64_t t, const T* (&rows)[R + S]) const {
    for (int i = 0; i < R + S; i++) rows[i] = input(t - S + i);
  }

  template <int R, bool CUT> void forward(int64_t t, const int64_t* first, T* y) const {
    const T* rows[R + S];
    rows_of<R>(t, rows);
    for (int64_t i = 0; i < R && t + AHEAD + i < a.length; i++) {
      expect(x + (t + AHEAD + i) * a.x_row, count);
      expect_written(y + (AHEAD + i) * a.y_row, count);
    }
    for (int64_t c = 0; c < count; c += LANES<T>) {
      Vec<T> in[R + S], s[R];
      inputs<R>(rows, c, in);
      sums<R, CUT>(in, first, c, s);
      for (int i = 0; i < R; i++) store_part(y + i * a.y_row + c, s[i] * sigmoid<T>(s[i]), count - c);
    }
  }
};

template <class T, int K> void forward(const ConvArgs& a) {
#pragma omp parallel for collapse(3) schedule(static) num_threads(a.threads)
  for (int64_t b = 0; b < a.batch; b++)
    for (int64_t start = 0; start < a.length; start += a.segment)
      for (int64_t channel = 0; channel < a.channels; channel += STRIP) {
        const Strip<T, K> strip(a, b, channel);
        constexpr int R = Strip<T, K>::ROWS;
        T* y = static_cast<T*>(a.y) + b * a.y_batch + channel;
        const int64_t end = std::min(a.length, start + a.segment);
        int64_t first[MOST_ROWS], t = start;
        auto take = [&]<int ROWS>() {
          if (strip.cut(t, ROWS, first)) strip.template forward<ROWS, true>(t, first, y + t * a.y_row);
          else strip.template forward<ROWS, false>(t, first, y + t * a.y_row);
          t += ROWS;
        };
        while (t + R <= end) take.template operator()<R>();
        while (t < end) take.template operator()<1>();
      }
}

// A strip on its way from the end of a segment to its beginning.
template <class T, int K> struct Backward : Strip<T, K> {
  static constexpr int S = K - 1;
  using Strip<T, K>::a, Strip<T, K>::count, Strip<T, K>::weight;
  const T* dy;
  T* dx;
  // Gradients of the sums of the S positions behind those that come next.
  alignas(64) T behind[S + 1][STRIP] = {}, dweight[K][STRIP] = {}, dbias[STRIP] = {};

  Backward(const ConvArgs& args, int64_t batch, int64_t first)
      : Strip<T, K>(args, batch, first), dy(static_cast<const T*>(args.dy) + batch * args.y_batch + first),
        dx(static_cast<T*>(args.dx) + batch * args.dx_batch + first) {}

  // Positions [t, t + R). `first` is of the positions [t, t + R + S). OWN: of this segment; otherwise their gradients
  // of the sums alone are wanted.
  template <int R, bool CUT, bool OWN> void step(int64_t t, const int64_t* first) {
    const T* rows[R + S];
    this->template rows_of<R>(t, rows);
    for (int64_t at = t - AHEAD; at < t - AHEAD + R; at++)
      if (OWN && at >= 0) {
        expect(dy + at * a.y_row, count);
        expect_written(dx + at * a.dx_row, count);
        if (at >= S) expect(this->x + (at - S) * a.x_row, count);
      }
    for (int64_t c = 0; c < count; c += LANES<T>) {
      const int64_t rest = count - c;
      Vec<T> in[R + S], s[R], d[R + S];
      this->template inputs<R>(rows, c, in);
      this->template sums<R, CUT>(in, first, c, s);
      for (int i = 0; i < R; i++) {
        const Vec<T> gate = sigmoid<T>(s[i]);
        d[i] = load_part(dy + (t + i) * a.y_row + c, rest) * (gate * (T(1) + s[i] * (T(1) - gate)));
      }
      for (int j = 0; j < S; j++) d[R + j] = load(behind[j] + c);
      for (int j = 0; j < S; j++) store(behind[j] + c, d[j]);
      if (!OWN) continue;
      Vec<T> sum = d[0];
      for (int i = 1; i < R; i++) sum += d[i];
      store(dbias + c, load(dbias + c) + sum);
      Vec<T> out[R] = {};
#pragma GCC unroll 8
      for (int k = 0; k < K; k++) {
        const Vec<T> w = load(weight[k] + c);
        Vec<T> dw = load(dweight[k] + c);
#pragma GCC unroll 8
        for (int i = 0; i < R; i++) {
          if (!CUT || k >= first[i]) dw += d[i] * in[i + k];
          if (!CUT || k >= first[i + S - k]) out[i] += w * d[i + S - k];
        }
        store(dweight[k] + c, dw);
      }
      for (int i = 0; i < R; i++) store_part(dx + (t + i) * a.dx_row + c, out[i], rest);
    }
  }

  // The gradient of position -j, which the state holds, from the sums at the beginning of the sequence.
  void of_state(T* dstate, const int64_t* first) const {
    for (int64_t j = 1; j <= S; j++)
      for (int64_t c = 0; c < count; c++) {
        T sum = T(0);
        for (int64_t t = 0; t + j <= S; t++)
          if (S - j - t >= first[t]) sum += weight[S - j - t][c] * behind[t][c];
        dstate[(S - j) * a.channels + c] = sum;
      }
  }
};

template <class T, int K> void backward(const ConvArgs& a) {
  constexpr int S = K - 1;
  const int64_t segments = (a.length + a.segment - 1) / a.segment;
#pragma omp parallel for collapse(3) schedule(static) num_threads(a.threads)
  for (int64_t b = 0; b < a.batch; b++)
    for (int64_t number = 0; number < segments; number++)
      for (int64_t channel = 0; channel < a.channels; channel += STRIP) {
        Backward<T, K> strip(a, b, channel);
        constexpr int R = Backward<T, K>::ROWS;
        const int64_t start = number * a.segment, end = std::min(a.length, start + a.segment);
        int64_t first[MOST_ROWS + MOST_TAPS], t = end;
        auto take = [&]<int ROWS, bool OWN>() {
          t -= ROWS;
          if (strip.cut(t, ROWS + S, first)) strip.template step<ROWS, true, OWN>(t, first);
          else strip.template step<ROWS, false, OWN>(t, first);
        };
        for (t = std::min(a.length, end + S); t > end;) take.template operator()<1, false>();
        while (t - R >= start) take.template operator()<R, true>();
        while (t > start) take.template operator()<1, true>();
        if (start == 0 && a.dstate != nullptr) {
          strip.cut(0, S, first);
          strip.of_state(static_cast<T*>(a.dstate) + b * S * a.channels + channel, first);
        }
        const int64_t unit = b * segments + number;
        for (int k = 0; k < K; k++)
          std::copy(strip.dweight[k], strip.dweight[k] + strip.count,
                    static_cast<T*>(a.dweight) + (unit * K + k) * a.channels + channel);
        std::copy(strip.dbias, strip.dbias + strip.count, static_cast<T*>(a.dbias) + unit * a.channels + channel);
      }
}

template <class T, int K = 1, class Body> void for_width(int64_t width, Body body) {
  if (width == K) body.template operator()<T, K>();
  else if constexpr (K < MOST_TAPS) for_width<T, K + 1>(width, body);
}
template <class T> void run_forward(const ConvArgs& a) {
  for_width<T>(a.width, [&]<class U, int K>() { forward<U, K>(a); });
}
template <class T> void run_backward(const ConvArgs& a) {
  for_width<T>(a.width, [&]<class U, int K>() { backward<U, K>(a); });
}

}  // namespace

extern "C" void conv1d_forward_f32(const ConvArgs* a) { run_forward<float>(*a); }
extern "C" void conv1d_forward_f64(const ConvArgs* a) { run_forward<double>(*a); }
extern "C" void conv1d_backward_f32(const ConvArgs* a) { run_backward<float>(*a); }
extern "C" void conv1d_backward_f64(const ConvArgs* a) { run_backward<double>(*a); }
