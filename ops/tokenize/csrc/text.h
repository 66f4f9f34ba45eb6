// UTF-8 text and how the pre-tokenizers of `native.PATTERNS` cut it, as Oniguruma matches them from left to right.
#pragma once

#include <cstdint>
#include <initializer_list>

enum Kind : uint8_t { OTHER, UPPER, LOWER, LETTER, MARK, NUMBER, SPACE };  // UPPER with title case; LETTER: Lm, Lo
constexpr unsigned bit(Kind kind) { return 1u << kind; }
constexpr unsigned LETTERS = bit(UPPER) | bit(LOWER) | bit(LETTER);
constexpr unsigned SIGNS = bit(OTHER) | bit(MARK);
constexpr unsigned CAPITALS = bit(UPPER) | bit(LETTER) | bit(MARK), SMALL = bit(LOWER) | bit(LETTER) | bit(MARK);

struct Text {
  const uint8_t *bytes, *end;
  const uint8_t* kinds;  // of code points

  // The code point at p, which moves behind it.
  uint32_t next(const uint8_t*& p) const {
    const uint32_t first = *p++;
    if (first < 0x80) return first;
    const int more = first < 0xe0 ? 1 : first < 0xf0 ? 2 : 3;
    uint32_t code = first & (0x3f >> more);
    for (int i = 0; i < more; i++) code = code << 6 | (*p++ & 0x3f);
    return code;
  }

  bool is(const uint8_t* p, char sign) const { return p < end && *p == static_cast<uint8_t>(sign); }
  bool is_newline(const uint8_t* p) const { return is(p, '\n') || is(p, '\r'); }
  bool is_latin(const uint8_t* p) const { return p < end && ((*p | 32) >= 'a' && (*p | 32) <= 'z'); }
  unsigned kind(const uint8_t* p) const { return 1u << kinds[next(p)]; }
  const uint8_t* behind(const uint8_t* p) const { return next(p), p; }

  // The end of the run of characters of these kinds that begins at p.
  const uint8_t* run(const uint8_t* p, unsigned of) const {
    while (p < end) {
      const uint8_t* after = p;
      if (!(1u << kinds[next(after)] & of)) break;
      p = after;
    }
    return p;
  }

  const uint8_t* newlines(const uint8_t* p) const {
    while (is_newline(p)) p++;
    return p;
  }

  // \s+(?!\S)|\s+
  const uint8_t* blanks(const uint8_t* p) const {
    const uint8_t *last = p, *at = p;
    while (at < end && kind(at) == bit(SPACE)) {
      last = at;
      at = behind(at);
    }
    return at == end || last == p ? at : last;
  }

  // \s*[\r\n]+|\s+(?!\S)|\s+
  const uint8_t* white(const uint8_t* p) const {
    const uint8_t *line = nullptr, *last = p, *at = p;
    while (at < end && kind(at) == bit(SPACE)) {
      last = at;
      at = behind(at);
      if (is_newline(last)) line = at;
    }
    return line ? line : at == end || last == p ? at : last;
  }
};

// Each cutter gives the end of the match that begins at p < end; together the alternatives match any character.

struct LatexCutter : Text {
  const uint8_t* cut(const uint8_t* p) const {
    const uint8_t* q = p + is(p, ' ');
    if (is(q, '\\') && is_latin(q + 1)) {
      for (q++; is_latin(q);) q++;
      return q;
    }
    const uint8_t* word = run(q, LETTERS | bit(MARK));
    if (word > q) return word;
    if (kind(p) == bit(NUMBER)) return behind(p);
    const uint8_t* at = q;
    while (at < end) {
      if (*at == '\\') {
        if (is_latin(at + 1)) break;
        at += 1 + is(at + 1, '\\');
      } else {
        if (kind(at) != bit(OTHER)) break;
        at = behind(at);
      }
    }
    return at > q ? newlines(at) : white(p);
  }
};

struct Gpt2Cutter : Text {
  // 's|'t|'re|'ve|'m|'ll|'d, or p
  const uint8_t* contraction(const uint8_t* p) const {
    if (!is(p, '\'')) return p;
    if (is(p + 1, 's') || is(p + 1, 't') || is(p + 1, 'm') || is(p + 1, 'd')) return p + 2;
    if (((is(p + 1, 'r') || is(p + 1, 'v')) && is(p + 2, 'e')) || (is(p + 1, 'l') && is(p + 2, 'l'))) return p + 3;
    return p;
  }

  const uint8_t* cut(const uint8_t* p) const {
    const uint8_t* word = contraction(p);
    if (word > p) return word;
    const uint8_t* q = p + is(p, ' ');
    for (unsigned of : {LETTERS, bit(NUMBER), SIGNS})
      if ((word = run(q, of)) > q) return word;
    return blanks(p);
  }
};

struct Llama3Cutter : Text {
  // (?i:'s|'t|'re|'ve|'m|'ll|'d), or p
  const uint8_t* contraction(const uint8_t* p) const {
    if (end - p < 2 || *p != '\'') return p;
    const int a = p[1] | 32, b = end - p > 2 ? p[2] | 32 : 0;
    if (is_latin(p + 1)) {
      if (a == 's' || a == 't' || a == 'm' || a == 'd') return p + 2;
      if (is_latin(p + 2) && (((a == 'r' || a == 'v') && b == 'e') || (a == 'l' && b == 'l'))) return p + 3;
    }
    return p[1] == 0xc5 && p[2] == 0xbf ? p + 3 : p;  // the long s
  }

  const uint8_t* cut(const uint8_t* p) const {
    const uint8_t* q = contraction(p);
    if (q > p) return q;
    const unsigned first = kind(p);
    q = first & LETTERS || first == bit(NUMBER) || is_newline(p) ? p : behind(p);
    const uint8_t* word = run(q, LETTERS);
    if (word > q) return word;
    if (first == bit(NUMBER)) {
      q = behind(p);
      for (int i = 0; i < 2 && q < end && kind(q) == bit(NUMBER); i++) q = behind(q);
      return q;
    }
    q = p + is(p, ' ');
    const uint8_t* signs = run(q, SIGNS);
    return signs > q ? newlines(signs) : white(p);
  }
};

struct TekkenCutter : Text {
  // [CAPITALS]*[SMALL]+, or p
  const uint8_t* small(const uint8_t* p) const {
    const uint8_t *capitals = run(p, CAPITALS), *after = run(capitals, SMALL);
    if (after > capitals) return after;
    const uint8_t* last = p;  // the capitals give back the last that is small too
    for (const uint8_t* at = p; at < capitals;) {
      const unsigned of = kind(at);
      at = behind(at);
      if (of & SMALL) last = at;
    }
    return last;
  }

  // [CAPITALS]+[SMALL]*, or p
  const uint8_t* capital(const uint8_t* p) const {
    const uint8_t* capitals = run(p, CAPITALS);
    return capitals > p ? run(capitals, SMALL) : p;
  }

  const uint8_t* cut(const uint8_t* p) const {
    const unsigned first = kind(p);
    const uint8_t *q = first & LETTERS || first == bit(NUMBER) || is_newline(p) ? p : behind(p), *word;
    if ((word = small(q)) > q || (word = small(p)) > p) return word;
    if ((word = capital(q)) > q || (word = capital(p)) > p) return word;
    if (first == bit(NUMBER)) return behind(p);
    q = p + is(p, ' ');
    const uint8_t* signs = run(q, SIGNS);
    if (signs == q) return white(p);
    while (is_newline(signs) || is(signs, '/')) signs++;
    return signs;
  }
};
