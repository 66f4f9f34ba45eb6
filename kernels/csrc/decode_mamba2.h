// One token through a Mamba-2 layer: norm, in_proj, convolution and SiLU, one step of the recurrence, gated norm,
// out_proj. The states are updated in place.
#pragma once

#include "decode.h"

constexpr int64_t MOST_TAPS = 8;

inline Need mamba2_need(const DecodeArgs& a, const DecodeLayer& l) {
  const int64_t inner = l.heads * l.head_dim, projected = 2 * inner + 2 * l.groups * l.state_size + l.heads;
  return {a.batch * (projected + inner), a.batch * std::max(a.width, inner)};
}

// Convolution and SiLU of channels first to last - 1, in place; the state moves on.
template <class T>
inline void convolve(const DecodeLayer& l, T* state, Rows<T> channels_of, int64_t batch, int64_t channels, int64_t first,
                     int64_t last) {
  const int64_t taps = l.taps;
  for (int64_t c = first; c < last; c += LANES<T>) {
    const int64_t count = std::min<int64_t>(LANES<T>, last - c);
    T weight[MOST_TAPS][LANES<T>];
    transpose(static_cast<const T*>(l.conv_weight) + c * taps, taps, count, taps, weight[0], LANES<T>);
    const Vec<T> bias = load_part(static_cast<const T*>(l.conv_bias) + c, count);
    for (int64_t b = 0; b < batch; b++) {
      T *in = channels_of[b] + c, *before = state + b * (taps - 1) * channels + c;
      const Vec<T> now = load_part(in, count);
      Vec<T> sum = bias + load_part(weight[taps - 1], count) * now;
      for (int64_t k = 0; k < taps - 1; k++) {
        sum += load_part(weight[k], count) * load_part(before + k * channels, count);
        const Vec<T> next = k + 1 < taps - 1 ? load_part(before + (k + 1) * channels, count) : now;
        store_part(before + k * channels, next, count);
      }
      store_part(in, sum * sigmoid<T>(sum), count);
    }
  }
}

// S = decay S + dt x B^T, y = (S C + skip x) gate for one head.
template <class T>
inline void recur(T* S, const T* x, const T* B, const T* C, const T* gate, int64_t P, int64_t N, T dt, T decay, T skip,
                  T* y) {
  for (int64_t p = 0; p < P; p += LANES<T>) {
    Vec<T> out[LANES<T>] = {};
    const int64_t rows = std::min<int64_t>(LANES<T>, P - p);
    for (int64_t r = 0; r < rows; r++) {
      T* row = S + (p + r) * N;
      const T in = dt * x[p + r];
      for (int64_t n = 0; n < N; n += LANES<T>) {
        const Vec<T> s = decay * load_part(row + n, N - n) + in * load_part(B + n, N - n);
        store_part(row + n, s, N - n);
        out[r] += s * load_part(C + n, N - n);
      }
    }
    const Vec<T> sum = lane_sums<T>(out) + skip * load_part(x + p, rows);
    store_part(y + p, sum * load_part(gate + p, rows), rows);
  }
}

template <class T> void Worker<T>::mamba2(const DecodeLayer& l, const DecodeMemory& m) const {
  const int64_t H = l.heads, P = l.head_dim, N = l.state_size, inner = H * P, channels = inner + 2 * l.groups * N;
  const int64_t projected = inner + channels + H;
  const Rows<T> zxBCdt{shared, projected}, mixed{shared + a.batch * projected, inner};

  const auto [first, last] = product(l.in_proj, projected, a.width, normed(l.norm), zxBCdt);
  for (int64_t b = 0; b < a.batch; b++) {
    const int64_t end = std::min(last, inner);
    for (int64_t i = first; i < end; i += LANES<T>) {
      const Vec<T> z = load_part(zxBCdt[b] + i, end - i);
      store_part(zxBCdt[b] + i, z * sigmoid<T>(z), end - i);
    }
    for (int64_t i = std::max(first, inner + channels); i < last; i++) {
      const T raw = zxBCdt[b][i] + at(l.dt_bias)[i - inner - channels];
      zxBCdt[b][i] = raw > T(20) ? raw : std::log1p(std::exp(raw));
    }
  }
  convolve(l, static_cast<T*>(m.first), Rows<T>{shared + inner, projected}, a.batch, channels,
           std::max<int64_t>(first - inner, 0), std::min(last - inner, channels));
  wait();

  const auto [begin, end] = share(a.batch * H);
  for (int64_t unit = begin; unit < end; unit++) {
    const int64_t b = unit / H, h = unit % H;
    const T *x = zxBCdt[b] + inner + h * P, *B = zxBCdt[b] + 2 * inner + h / (H / l.groups) * N;
    const T dt = zxBCdt[b][inner + channels + h], decay = std::exp(-std::exp(at(l.A_log)[h]) * dt);
    recur(static_cast<T*>(m.second) + unit * P * N, x, B, B + l.groups * N, zxBCdt[b] + h * P, P, N, dt, decay,
          at(l.D)[h], mixed[b] + h * P);
  }
  wait();

  const int64_t group = inner / l.groups;
  for (int64_t b = 0; b < a.batch; b++)
    for (int64_t i = 0; i < inner; i += group)
      rms_norm(mixed[b] + i, at(l.mix_norm, i), group, a.eps, own + b * inner + i);
  add_product(l.out_proj, inner, {own, inner});
  wait();
}
