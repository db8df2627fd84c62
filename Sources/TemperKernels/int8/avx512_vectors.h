// What the variants with vectors of 64 bytes share. See int8_kernels_template.h.
#define LANES 16
#define TILE_ROWS 12
#define LOW_8(a, b) ((W)_mm512_unpacklo_epi8((__m512i)(a), (__m512i)(b)))
#define HIGH_8(a, b) ((W)_mm512_unpackhi_epi8((__m512i)(a), (__m512i)(b)))
#define LOW_16(a, b) ((W)_mm512_unpacklo_epi16((__m512i)(a), (__m512i)(b)))
#define HIGH_16(a, b) ((W)_mm512_unpackhi_epi16((__m512i)(a), (__m512i)(b)))
