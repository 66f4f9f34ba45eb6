// Causal depthwise convolution and SiLU, forward and backward. kernels/conv1d.py states the operation.
//
// Threads take strips of channels of a batch row, with the sequence inside: nothing is summed across threads but the
// gradients of filter and bias, which are kept per batch row.
#include "simd.h"

extern "C" struct ConvArgs {
  int64_t batch, length, channels, width, threads;
  int64_t x_batch, x_row, y_batch, y_row, dx_batch, dx_row;
  const void *x, *weight, *bias, *state;  // weight [channels][width], state [batch][width - 1][channels]
  const int64_t* seq_idx;
  void* y;
  const void* dy;
  void *dx, *dweight, *dbias, *dstate;  // dweight [batch][width][channels], dbias [batch][channels]
};

namespace {

constexpr int64_t STRIP = 64;
constexpr int64_t MOST_TAPS = 8;

// For position t: how many of the taps before it belong to its document.
int64_t visible(const int64_t* seq, int64_t t, int64_t width) {
  if (seq == nullptr) return width - 1;
  int64_t back = 0;
  while (back < width - 1 && (t - back - 1 < 0 || seq[t - back - 1] == seq[t])) back++;
  return back;
}

template <class T> struct Strip {
  const ConvArgs& a;
  int64_t b, begin, count;
  const T *x, *state;
  alignas(64) T weight[MOST_TAPS][STRIP] = {};
  alignas(64) T bias[STRIP] = {};

  Strip(const ConvArgs& args, int64_t batch, int64_t first)
      : a(args), b(batch), begin(first), count(std::min(STRIP, args.channels - first)),
        x(static_cast<const T*>(args.x) + batch * args.x_batch + first),
        state(args.state ? static_cast<const T*>(args.state) + batch * (args.width - 1) * args.channels + first
                         : nullptr) {
    for (int64_t c = 0; c < count; c++) {
      for (int64_t k = 0; k < a.width; k++) weight[k][c] = static_cast<const T*>(a.weight)[(begin + c) * a.width + k];
      bias[c] = static_cast<const T*>(a.bias)[begin + c];
    }
  }
  // Inputs of position t, which may lie before the sequence; null for zeros.
  const T* input(int64_t t) const {
    if (t >= 0) return x + t * a.x_row;
    return state ? state + (a.width - 1 + t) * a.channels : nullptr;
  }
  Vec<T> sum(int64_t t, int64_t c, int64_t back) const {
    Vec<T> s = load(bias + c);
    for (int64_t k = a.width - 1 - back; k < a.width; k++)
      if (const T* in = input(t - a.width + 1 + k)) s += load(weight[k] + c) * load_part(in + c, count - c);
    return s;
  }
};

template <class T> void forward(const ConvArgs& a) {
#pragma omp parallel for collapse(2) schedule(static) num_threads(a.threads)
  for (int64_t b = 0; b < a.batch; b++)
    for (int64_t first = 0; first < a.channels; first += STRIP) {
      const Strip<T> strip(a, b, first);
      T* y = static_cast<T*>(a.y) + b * a.y_batch + first;
      for (int64_t t = 0; t < a.length; t++) {
        const int64_t back = visible(a.seq_idx ? a.seq_idx + b * a.length : nullptr, t, a.width);
        for (int64_t c = 0; c < strip.count; c += LANES<T>) {
          const Vec<T> s = strip.sum(t, c, back);
          store_part(y + t * a.y_row + c, s * sigmoid<T>(s), strip.count - c);
        }
      }
    }
}

template <class T> void backward(const ConvArgs& a) {
#pragma omp parallel for collapse(2) schedule(static) num_threads(a.threads)
  for (int64_t b = 0; b < a.batch; b++)
    for (int64_t first = 0; first < a.channels; first += STRIP) {
      const Strip<T> strip(a, b, first);
      const int64_t* seq = a.seq_idx ? a.seq_idx + b * a.length : nullptr;
      const T* dy = static_cast<const T*>(a.dy) + b * a.y_batch + first;
      T* dx = static_cast<T*>(a.dx) + b * a.dx_batch + first;
      T* dstate = a.dstate ? static_cast<T*>(a.dstate) + b * (a.width - 1) * a.channels + first : nullptr;
      // What later positions have already said about the inputs t - width + 1 .. t, in a ring.
      alignas(64) T pending[MOST_TAPS][STRIP] = {}, dweight[MOST_TAPS][STRIP] = {}, dbias[STRIP] = {};
      for (int64_t t = a.length - 1; t >= -(a.width - 1); t--) {
        if (t >= 0) {
          const int64_t back = visible(seq, t, a.width);
          for (int64_t c = 0; c < strip.count; c += LANES<T>) {
            const int64_t rest = strip.count - c;
            const Vec<T> s = strip.sum(t, c, back), gate = sigmoid<T>(s);
            const Vec<T> d = load_part(dy + t * a.y_row + c, rest) * gate * (T(1) + s * (T(1) - gate));
            store(dbias + c, load(dbias + c) + d);
            for (int64_t k = a.width - 1 - back; k < a.width; k++) {
              const int64_t at = t - a.width + 1 + k;
              T* slot = pending[(at + a.width) % a.width] + c;
              store(slot, load(slot) + d * load(strip.weight[k] + c));
              if (const T* in = strip.input(at))
                store(dweight[k] + c, load(dweight[k] + c) + d * load_part(in + c, rest));
            }
          }
        }
        T* slot = pending[(t + a.width) % a.width];
        T* out = t >= 0 ? dx + t * a.dx_row : dstate ? dstate + (a.width - 1 + t) * a.channels : nullptr;
        if (out != nullptr) std::copy(slot, slot + strip.count, out);
        std::fill(slot, slot + STRIP, T(0));
      }
      for (int64_t k = 0; k < a.width; k++)
        std::copy(dweight[k], dweight[k] + strip.count,
                  static_cast<T*>(a.dweight) + (b * a.width + k) * a.channels + first);
      std::copy(dbias, dbias + strip.count, static_cast<T*>(a.dbias) + b * a.channels + first);
    }
}

}  // namespace

extern "C" void conv1d_forward_f32(const ConvArgs* a) { forward<float>(*a); }
extern "C" void conv1d_forward_f64(const ConvArgs* a) { forward<double>(*a); }
extern "C" void conv1d_backward_f32(const ConvArgs* a) { backward<float>(*a); }
extern "C" void conv1d_backward_f64(const ConvArgs* a) { backward<double>(*a); }
