// One token through a Mamba-2 mixer between its projections, for decoding: convolution and SiLU, softplus, one step of
// the recurrence, gated norm. kernels/mamba2.py states the operation and calls this.
#include "simd.h"

extern "C" struct StepArgs {
  int64_t batch, heads, head_dim, groups, state, width, threads, in_row;
  double eps;
  const void *input, *conv_weight, *conv_bias, *dt_bias, *A, *D, *norm_weight, *conv_state, *ssm_state;
  void *y, *new_conv_state, *new_ssm_state, *mixed;  // mixed: [batch][channels], room for the convolution's output
};

namespace {

template <class T> void step(const StepArgs& a) {
  constexpr int VL = LANES<T>;
  const int64_t H = a.heads, P = a.head_dim, N = a.state, K = a.width, I = H * P, channels = I + 2 * a.groups * N;
  const int64_t per_group = H / a.groups;
  // A thread for less than this many numbers of state costs more than it saves.
  const int64_t threads = std::min<int64_t>(a.threads, std::max<int64_t>(1, a.batch * I * N >> 16));
#pragma omp parallel num_threads(threads)
  {
#pragma omp for collapse(2) schedule(static)
    for (int64_t b = 0; b < a.batch; b++)
      for (int64_t c = 0; c < channels; c++) {
        const T* x = static_cast<const T*>(a.input) + b * a.in_row + I;
        const T* w = static_cast<const T*>(a.conv_weight) + c * K;
        const T* before = static_cast<const T*>(a.conv_state) + b * (K - 1) * channels + c;
        T* after = static_cast<T*>(a.new_conv_state) + b * (K - 1) * channels + c;
        T sum = static_cast<const T*>(a.conv_bias)[c] + w[K - 1] * x[c];
        for (int64_t k = 0; k < K - 1; k++) {
          sum += w[k] * before[k * channels];
          after[k * channels] = k + 1 < K - 1 ? before[(k + 1) * channels] : x[c];
        }
        static_cast<T*>(a.mixed)[b * channels + c] = sum / (T(1) + std::exp(-sum));
      }
#pragma omp for collapse(2) schedule(static)
    for (int64_t b = 0; b < a.batch; b++)
      for (int64_t h = 0; h < H; h++) {
        const T* mixed = static_cast<const T*>(a.mixed) + b * channels;
        const T *x = mixed + h * P, *B = mixed + I + h / per_group * N, *C = B + a.groups * N;
        const T raw = (static_cast<const T*>(a.input) + b * a.in_row + I + channels)[h] + static_cast<const T*>(a.dt_bias)[h];
        const T dt = raw > T(20) ? raw : std::log1p(std::exp(raw));
        const T decay = std::exp(dt * static_cast<const T*>(a.A)[h]), skip = static_cast<const T*>(a.D)[h];
        const T* S = static_cast<const T*>(a.ssm_state) + (b * H + h) * P * N;
        T* S_new = static_cast<T*>(a.new_ssm_state) + (b * H + h) * P * N;
        T* y = static_cast<T*>(a.y) + b * I + h * P;
        for (int64_t p = 0; p < P; p++) {
          const T in = dt * x[p];
          Vec<T> out{};
          for (int64_t n = 0; n < N; n += VL) {
            const Vec<T> s = decay * load_part(S + p * N + n, N - n) + in * load_part(B + n, N - n);
            store_part(S_new + p * N + n, s, N - n);
            out += s * load_part(C + n, N - n);
          }
          y[p] = sum_lanes<T>(out) + skip * x[p];
        }
      }
#pragma omp for collapse(2) schedule(static)
    for (int64_t b = 0; b < a.batch; b++)
      for (int64_t g = 0; g < a.groups; g++) {
        const int64_t width = I / a.groups;
        const T* z = static_cast<const T*>(a.input) + b * a.in_row + g * width;
        const T* w = static_cast<const T*>(a.norm_weight) + g * width;
        T* y = static_cast<T*>(a.y) + b * I + g * width;
        Vec<T> squares{};
        for (int64_t i = 0; i < width; i += VL) {
          const Vec<T> gate = load_part(z + i, width - i), v = load_part(y + i, width - i) * gate * sigmoid<T>(gate);
          store_part(y + i, v, width - i);
          squares += v * v;
        }
        const T scale = T(1) / std::sqrt(sum_lanes<T>(squares) / T(width) + T(a.eps));
        for (int64_t i = 0; i < width; i += VL)
          store_part(y + i, load_part(y + i, width - i) * scale * load_part(w + i, width - i), width - i);
      }
  }
}

}  // namespace

extern "C" void mamba2_step_f32(const StepArgs* a) { step<float>(*a); }
extern "C" void mamba2_step_f64(const StepArgs* a) { step<double>(*a); }
