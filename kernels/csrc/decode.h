// One token through a whole network: what the layers share. kernels/decode.py states the operation.
#pragma once

#include <atomic>

#include "skinny.h"

enum DecodeKind : int64_t { MAMBA2 = 0, ATTENTION = 1, FEED_FORWARD = 2, EXPERTS = 3 };

// Fields that a kind of layer does not have are 0 and null. Matrices are [outputs][inputs].
extern "C" struct DecodeLayer {
  int64_t kind;
  int64_t heads, head_dim;               // MAMBA2, ATTENTION
  int64_t kv_heads;                      // ATTENTION
  int64_t groups, state_size, taps;      // MAMBA2
  int64_t width;                         // FEED_FORWARD, the shared expert of EXPERTS
  int64_t experts, chosen, expert_dim, expert_width, expert_groups, open_groups, normalised;  // EXPERTS
  double scale;                          // EXPERTS
  const void* norm;                      // null: none
  const void *in_proj, *out_proj;        // up_proj and down_proj of FEED_FORWARD and of the shared expert; o_proj
  const void *conv_weight, *conv_bias, *dt_bias, *A_log, *D, *mix_norm;
  const void *q, *k, *v, *q_norm, *k_norm, *v_norm;
  const void *router, *up, *down, *latent_in, *latent_out;
  const float* router_bias;
};

// MAMBA2: convolution [batch][taps - 1][channels] and scan [batch][heads][head_dim][state_size]. ATTENTION: keys and
// values [batch][kv_heads][capacity][head_dim].
extern "C" struct DecodeMemory {
  int64_t capacity;
  void *first, *second;
};

extern "C" struct DecodeArgs {
  int64_t batch, width, vocabulary, layers, length, threads;
  double eps;
  const DecodeLayer* layer;
  const DecodeMemory* memory;
  const int64_t *token, *padding;
  const void *embeddings, *norm, *head;
  void* logits;
};

// Squared ReLU of numbers first to last - 1 of each row.
template <class T> inline void square_positive(Rows<T> y, int64_t batch, int64_t first, int64_t last) {
  for (int64_t b = 0; b < batch; b++)
    for (int64_t i = first; i < last; i += LANES<T>) {
      const Vec<T> v = load_part(y[b] + i, last - i), positive = v < T(0) ? Vec<T>{} : v;
      store_part(y[b] + i, positive * positive, last - i);
    }
}

// y = weight x / sqrt(mean(x^2) + eps)
template <class T> inline void rms_norm(const T* x, const T* weight, int64_t width, double eps, T* y) {
  Vec<T> squares{};
  for (int64_t i = 0; i < width; i += LANES<T>) {
    const Vec<T> v = load_part(x + i, width - i);
    squares += v * v;
  }
  const T scale = T(1) / std::sqrt(sum_lanes<T>(squares) / T(width) + T(eps));
  for (int64_t i = 0; i < width; i += LANES<T>)
    store_part(y + i, load_part(x + i, width - i) * scale * load_part(weight + i, width - i), width - i);
}

// Where threads wait for one another, dozens of times a token: for some microseconds awake, then asleep. On a busy machine
// the one that is waited for may need this very core.
class Meeting {
 public:
  explicit Meeting(int threads) : threads_(threads) {}
  void wait() {
    const int round = round_.load(std::memory_order_relaxed);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) == threads_ - 1) {
      arrived_.store(0, std::memory_order_relaxed);
      round_.store(round + 1, std::memory_order_release);
      round_.notify_all();
      return;
    }
    for (int spins = 0; spins < 1000; spins++) {
      if (round_.load(std::memory_order_acquire) != round) return;
#if defined(__x86_64__)
      __builtin_ia32_pause();
#endif
    }
    round_.wait(round, std::memory_order_acquire);
  }

 private:
  const int threads_;
  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<int> round_{0};
};

// What a thread sees of a step. Threads run the same code on their shares and meet at barriers.
template <class T> struct Worker {
  const DecodeArgs& a;
  int64_t rank, threads;
  Meeting& meeting;
  T *x, *shared, *own;  // the residual stream [B][width]; memory of all threads; memory of this one

  std::pair<int64_t, int64_t> share(int64_t count, int64_t grain = 1) const {
    const int64_t pieces = (count + grain - 1) / grain;
    return {std::min(count, pieces * rank / threads * grain), std::min(count, pieces * (rank + 1) / threads * grain)};
  }
  void wait() const {
    if (threads > 1) meeting.wait();
  }
  static const T* at(const void* p, int64_t offset = 0) { return static_cast<const T*>(p) + offset; }
  Rows<T> stream() const { return {x, a.width}; }

  // The rows of the stream after a norm, in memory of this thread (null: the rows themselves).
  Rows<const T> normed(const void* weight) const {
    if (weight == nullptr) return {x, a.width};
    for (int64_t b = 0; b < a.batch; b++) rms_norm(x + b * a.width, at(weight), a.width, a.eps, own + b * a.width);
    return {own, a.width};
  }
  // This thread's share of the rows of a product; returns the share.
  std::pair<int64_t, int64_t> product(const void* w, int64_t outputs, int64_t inputs, Rows<const T> from, Rows<T> to) const {
    const auto [first, last] = share(outputs, LANES<T>);
    multiply<T>(at(w), inputs, first, last, from, a.batch, to);
    return {first, last};
  }
  void add_product(const void* w, int64_t inputs, Rows<const T> from) const {
    const auto [first, last] = share(a.width, LANES<T>);
    multiply<T, true>(at(w), inputs, first, last, from, a.batch, stream());
  }

  void mamba2(const DecodeLayer& l, const DecodeMemory& s) const;
  void attention(const DecodeLayer& l, const DecodeMemory& s) const;
  void feed_forward(const DecodeLayer& l) const;
  void experts(const DecodeLayer& l) const;
};

// Numbers of memory that a layer needs, of all threads and of each.
struct Need {
  int64_t shared, own;
};
