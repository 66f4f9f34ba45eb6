// One token through a whole network, for a batch of rows. kernels/decode.py states the operation.
//
// Threads divide the outputs of every product and meet between layers' parts; no sum is divided, so that the bits of a
// row depend neither on the number of threads nor on the other rows.
#include <omp.h>

#include <optional>

#include "decode_attention.h"
#include "decode_experts.h"
#include "decode_mamba2.h"

namespace {

Need need(const DecodeArgs& a) {
  Need most{0, a.batch * a.width};
  for (int64_t i = 0; i < a.layers; i++) {
    const DecodeLayer& l = a.layer[i];
    const Need of = l.kind == MAMBA2      ? mamba2_need(a, l)
                    : l.kind == ATTENTION ? attention_need(a, l)
                    : l.kind == EXPERTS   ? experts_need(a, l)
                                          : Need{a.batch * l.width, a.batch * a.width};
    most = {std::max(most.shared, of.shared), std::max(most.own, of.own)};
  }
  return most;
}

}  // namespace

template <class T> void Worker<T>::feed_forward(const DecodeLayer& l) const {
  const Rows<T> inner{shared, l.width};
  const auto [first, last] = product(l.in_proj, l.width, a.width, normed(l.norm), inner);
  square_positive(inner, a.batch, first, last);
  wait();
  add_product(l.out_proj, l.width, {shared, l.width});
  wait();
}

// Returns -1, or, having done nothing, the first row b whose token is outside of the vocabulary, or batch + b where the
// padding of row b is not from 0 to length.
template <class T> int decode_step(const DecodeArgs& a) {
  for (int64_t b = 0; b < a.batch; b++) {
    if (a.token[b] < 0 || a.token[b] >= a.vocabulary) return static_cast<int>(b);
    if (a.padding[b] < 0 || a.padding[b] > a.length) return static_cast<int>(a.batch + b);
  }
  const Need room = need(a);
  Scratch<T> memory(a.batch * a.width + room.shared + 64);
  T *x = memory.take(a.batch * a.width), *shared = memory.take(room.shared);
  for (int64_t b = 0; b < a.batch; b++) {
    const T* from = static_cast<const T*>(a.embeddings) + a.token[b] * a.width;
    std::copy(from, from + a.width, x + b * a.width);
  }
  std::optional<Meeting> meeting;
#pragma omp parallel num_threads(a.threads)
  {
    const int threads = omp_get_num_threads();
#pragma omp single
    meeting.emplace(threads);
    Scratch<T> mine(room.own);
    const Worker<T> worker{a, omp_get_thread_num(), threads, *meeting, x, shared, mine.take(room.own)};
    for (int64_t i = 0; i < a.layers; i++) {
      const DecodeLayer& l = a.layer[i];
      if (l.kind == MAMBA2)
        worker.mamba2(l, a.memory[i]);
      else if (l.kind == ATTENTION)
        worker.attention(l, a.memory[i]);
      else if (l.kind == EXPERTS)
        worker.experts(l);
      else
        worker.feed_forward(l);
    }
    worker.product(a.head, a.vocabulary, a.width, worker.normed(a.norm), {static_cast<T*>(a.logits), a.vocabulary});
    worker.wait();
  }
  return -1;
}

extern "C" int decode_step_f32(const DecodeArgs* a) { return decode_step<float>(*a); }
extern "C" int decode_step_f64(const DecodeArgs* a) { return decode_step<double>(*a); }
