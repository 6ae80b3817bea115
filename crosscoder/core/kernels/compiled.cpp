// Lists the scores above a bound, for the CPU. compiled.py compiles this file and calls it.
//
// Arrays are contiguous. Each thread writes the entries of its own tokens, so results are the same
// for every number of threads.

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace {

using bfloat16 = uint16_t;

inline float to_float(float number) { return number; }

// a bfloat16 is the upper half of a float32
inline float to_float(bfloat16 number) {
  uint32_t bits = static_cast<uint32_t>(number) << 16;
  float result;
  std::memcpy(&result, &bits, sizeof result);
  return result;
}

constexpr int64_t BLOCK = 16;  // latents that one instruction compares

template <class Number>
int64_t count_above(const Number* pre, const float* scale, float bound, int64_t n_latents) {
  int32_t count = 0;
#pragma omp simd reduction(+ : count)
  for (int64_t latent = 0; latent < n_latents; latent++) {
    count += to_float(pre[latent]) * scale[latent] > bound;
  }
  return count;
}

template <class Number>
bool has_above(const Number* pre, const float* scale, float bound) {
  int found = 0;
#pragma omp simd reduction(| : found)
  for (int64_t latent = 0; latent < BLOCK; latent++) {
    found |= to_float(pre[latent]) * scale[latent] > bound;
  }
  return found;
}

// Writes the latents of one token whose score exceeds the bound, and their scores.
template <class Number>
void list_above(const Number* pre, const float* scale, float bound, int64_t n_latents,
                int64_t* latents, float* scores) {
  for (int64_t start = 0; start < n_latents; start += BLOCK) {
    int64_t end = std::min(start + BLOCK, n_latents);
    // most scores are too low, so whole blocks are skipped
    bool is_whole = end - start == BLOCK;
    if (is_whole && !has_above(pre + start, scale + start, bound)) continue;
    for (int64_t latent = start; latent < end; latent++) {
      float score = to_float(pre[latent]) * scale[latent];
      if (score > bound) {
        *latents++ = latent;
        *scores++ = score;
      }
    }
  }
}

template <class Number>
void count_by_token(const Number* pre, const float* scale, const float* bounds, int64_t n_tokens,
                    int64_t n_latents, int64_t* counts, int n_threads) {
#pragma omp parallel for num_threads(n_threads)
  for (int64_t token = 0; token < n_tokens; token++) {
    counts[token] = count_above(pre + token * n_latents, scale, bounds[token], n_latents);
  }
}

// The entries of token t begin at starts[t].
template <class Number>
void list_by_token(const Number* pre, const float* scale, const float* bounds, int64_t n_tokens,
                   int64_t n_latents, const int64_t* starts, int64_t* latents, float* scores,
                   int n_threads) {
#pragma omp parallel for num_threads(n_threads)
  for (int64_t token = 0; token < n_tokens; token++) {
    list_above(pre + token * n_latents, scale, bounds[token], n_latents, latents + starts[token],
               scores + starts[token]);
  }
}

}  // namespace

extern "C" {

void count_float32(const float* pre, const float* scale, const float* bounds, int64_t n_tokens,
                   int64_t n_latents, int64_t* counts, int n_threads) {
  count_by_token(pre, scale, bounds, n_tokens, n_latents, counts, n_threads);
}

void count_bfloat16(const bfloat16* pre, const float* scale, const float* bounds, int64_t n_tokens,
                    int64_t n_latents, int64_t* counts, int n_threads) {
  count_by_token(pre, scale, bounds, n_tokens, n_latents, counts, n_threads);
}

void list_float32(const float* pre, const float* scale, const float* bounds, int64_t n_tokens,
                  int64_t n_latents, const int64_t* starts, int64_t* latents, float* scores,
                  int n_threads) {
  list_by_token(pre, scale, bounds, n_tokens, n_latents, starts, latents, scores, n_threads);
}

void list_bfloat16(const bfloat16* pre, const float* scale, const float* bounds, int64_t n_tokens,
                   int64_t n_latents, const int64_t* starts, int64_t* latents, float* scores,
                   int n_threads) {
  list_by_token(pre, scale, bounds, n_tokens, n_latents, starts, latents, scores, n_threads);
}

}  // extern "C"
