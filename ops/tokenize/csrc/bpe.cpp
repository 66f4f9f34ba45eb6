// Byte-level BPE with the ids that `tokenizers` gives: text is cut into words, words are looked up, new ones merged.
#include <cstring>
#include <queue>
#include <string_view>
#include <vector>

#include "text.h"

namespace {

constexpr size_t LONGEST = 256;  // bytes of a word that is kept

uint64_t mix(uint64_t value) {
  value *= 0x9e3779b97f4a7c15u;
  return value ^ value >> 29;
}

// Words with their ids: open addressing.
class Words {
 public:
  struct Slot {
    uint64_t hash;  // 0: empty
    uint32_t start, length, first, count;
  };

  Words() : slots_(1 << 12) {}

  static uint64_t hash(const uint8_t* word, size_t length) {
    uint64_t value = length + 1, part = 0;
    for (; length >= 8; word += 8, length -= 8) {
      std::memcpy(&part, word, 8);
      value = mix(value ^ part);
    }
    part = 0;
    std::memcpy(&part, word, length);
    return mix(mix(value ^ part)) | 1;
  }

  // The slot of the word, or the empty one where it belongs.
  Slot& find(uint64_t hash, const uint8_t* word, size_t length) {
    for (size_t at = hash >> 20;; at++) {
      Slot& slot = slots_[at & (slots_.size() - 1)];
      if (!slot.hash) return slot;
      if (slot.hash == hash && slot.length == length && !std::memcmp(&bytes_[slot.start], word, length)) return slot;
    }
  }

  void add(uint64_t hash, const uint8_t* word, size_t length, const int32_t* ids, size_t count) {
    if (2 * (used_ + 1) > slots_.size()) grow();
    find(hash, word, length) = {hash, uint32_t(bytes_.size()), uint32_t(length), uint32_t(ids_.size()), uint32_t(count)};
    bytes_.insert(bytes_.end(), word, word + length);
    ids_.insert(ids_.end(), ids, ids + count);
    used_++;
  }

  size_t memory() const { return slots_.size() * sizeof(Slot) + bytes_.size() + ids_.size() * sizeof(int32_t); }
  const int32_t* ids(const Slot& slot) const { return &ids_[slot.first]; }

 private:
  void grow() {
    std::vector<Slot> old(2 * slots_.size());
    old.swap(slots_);
    for (const Slot& slot : old)
      if (slot.hash) find(slot.hash, &bytes_[slot.start], slot.length) = slot;
  }

  std::vector<Slot> slots_;
  std::vector<uint8_t> bytes_;
  std::vector<int32_t> ids_;
  size_t used_ = 0;
};

// What a pair of ids becomes.
class Merges {
 public:
  struct Slot {
    int32_t left = -1, right, rank, merged;
  };

  explicit Merges(size_t count) {
    size_t size = 16;
    while (size < 2 * count) size *= 2;
    slots_.resize(size);
  }

  Slot& find(int32_t left, int32_t right) {
    for (size_t at = mix(uint64_t(uint32_t(left)) << 32 | uint32_t(right)) >> 8;; at++) {
      Slot& slot = slots_[at & (slots_.size() - 1)];
      if (slot.left < 0 || (slot.left == left && slot.right == right)) return slot;
    }
  }

 private:
  std::vector<Slot> slots_;
};

struct Vocabulary {
  int64_t pattern, memory, num_merges, num_whole;  // memory: bytes for words, about
  const int32_t *bytes, *left, *right, *merged;  // ids [256], [num_merges] by rank
  const uint8_t* whole;                          // words that are a token without merges, one behind the other
  const int64_t* whole_ends;
  const int32_t* whole_ids;
};

class Encoder {
 public:
  explicit Encoder(const Vocabulary& of)
      : merges_(of.num_merges), pattern_(of.pattern), memory_(of.memory), bytes_(of.bytes, of.bytes + 256) {
    for (int64_t i = 0; i < of.num_merges; i++)
      merges_.find(of.left[i], of.right[i]) = {of.left[i], of.right[i], int32_t(i), of.merged[i]};
    for (int64_t i = 0, start = 0; i < of.num_whole; start = of.whole_ends[i++]) {
      const uint8_t* word = of.whole + start;
      const size_t length = of.whole_ends[i] - start;
      whole_.add(Words::hash(word, length), word, length, &of.whole_ids[i], 1);
    }
    words_ = whole_;
  }

  // Texts that end at `ends` in `bytes`; their ids go to `ids`, with `eod` behind each, their ends to `id_ends`.
  void encode(const uint8_t* bytes, const int64_t* ends, int64_t count, const uint8_t* kinds, int32_t eod, int32_t* ids,
              int64_t* id_ends) {
    int32_t* out = ids;
    for (int64_t i = 0, start = 0; i < count; start = ends[i++]) {
      const Text text{bytes + start, bytes + ends[i], kinds};
      if (pattern_ == 0) out = cut(LatexCutter{text}, out);
      if (pattern_ == 1) out = cut(Llama3Cutter{text}, out);
      if (pattern_ == 2) out = cut(TekkenCutter{text}, out);
      if (pattern_ == 3) out = cut(Gpt2Cutter{text}, out);
      *out++ = eod;
      id_ends[i] = out - ids;
    }
  }

 private:
  struct Symbol {
    int32_t id;
    int64_t before, after;  // -1: none
  };

  struct Candidate {
    int32_t rank, left, right, merged;
    int64_t at;
    bool operator<(const Candidate& other) const {  // the heap gives the greatest first
      return rank != other.rank ? rank > other.rank : at > other.at;
    }
  };

  template <class Cutter> int32_t* cut(const Cutter& text, int32_t* out) {
    for (const uint8_t *p = text.bytes, *after; p < text.end; p = after) {
      after = text.cut(p);
      out = word(p, after - p, out);
    }
    return out;
  }

  int32_t* word(const uint8_t* word, size_t length, int32_t* out) {
    const uint64_t hash = Words::hash(word, length);
    const Words::Slot& slot = words_.find(hash, word, length);
    if (slot.hash) {
      const int32_t* ids = words_.ids(slot);
      for (uint32_t i = 0; i < slot.count; i++) out[i] = ids[i];
      return out + slot.count;
    }
    int32_t* end = merge(word, length, out);
    if (length <= LONGEST) {
      if (words_.memory() > memory_ + whole_.memory()) words_ = whole_;
      words_.add(hash, word, length, out, end - out);
    }
    return end;
  }

  // Of all pairs of neighbours the one of the lowest rank is merged, the leftmost of several, until none is left.
  int32_t* merge(const uint8_t* word, size_t length, int32_t* out) {
    const int64_t count = length;
    symbols_.resize(count);
    for (int64_t i = 0; i < count; i++) symbols_[i] = {bytes_[word[i]], i - 1, i + 1 < count ? i + 1 : -1};
    for (int64_t i = 0; i + 1 < count; i++) consider(i);
    while (!heap_.empty()) {
      const Candidate top = heap_.top();
      heap_.pop();
      Symbol& left = symbols_[top.at];
      if (left.id != top.left || left.after < 0 || symbols_[left.after].id != top.right) continue;  // merged since
      Symbol& right = symbols_[left.after];
      left.id = top.merged;
      left.after = right.after;
      right.id = -1;
      if (left.after >= 0) symbols_[left.after].before = top.at, consider(top.at);
      if (left.before >= 0) consider(left.before);
    }
    for (int64_t i = 0; i >= 0 && i < count; i = symbols_[i].after) *out++ = symbols_[i].id;
    return out;
  }

  void consider(int64_t at) {
    const int32_t left = symbols_[at].id, right = symbols_[symbols_[at].after].id;
    const Merges::Slot& found = merges_.find(left, right);
    if (found.left >= 0) heap_.push({found.rank, left, right, found.merged, at});
  }

  Merges merges_;
  Words whole_, words_;
  int64_t pattern_;
  size_t memory_;
  std::vector<int32_t> bytes_;
  std::vector<Symbol> symbols_;
  std::priority_queue<Candidate> heap_;
};

}  // namespace

extern "C" {

void* bpe_new(const Vocabulary* vocabulary) { return new Encoder(*vocabulary); }

void bpe_free(void* encoder) { delete static_cast<Encoder*>(encoder); }

// Marks the blocks of 256 code points that a text touches.
void bpe_blocks(const uint8_t* bytes, int64_t count, uint8_t* touched) {
  const Text text{bytes, bytes + count, nullptr};
  if (count) touched[0] = 1;
  for (const uint8_t* p = bytes; p < text.end;) {
    uint64_t eight = 0;
    if (text.end - p >= 8 && (std::memcpy(&eight, p, 8), !(eight & 0x8080808080808080u)))
      p += 8;
    else
      touched[text.next(p) >> 8] = 1;
  }
}

void bpe_encode(void* encoder, const uint8_t* bytes, const int64_t* ends, int64_t count, const uint8_t* kinds, int32_t eod,
                int32_t* ids, int64_t* id_ends) {
  static_cast<Encoder*>(encoder)->encode(bytes, ends, count, kinds, eod, ids, id_ends);
}
}
