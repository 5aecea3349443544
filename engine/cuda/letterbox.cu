// Source pictures to network input in one pass: resize, pad, part the colours, take the mean off.
// The arithmetic is that of engine/letterbox.py (cv2.resize), rounding to whole grey levels included.
// Plain C apart from the kernel at the end, so that a C compiler can build it for the tests.

#ifdef __CUDACC__
#define FUNCTION static __device__ inline
#else
#include <math.h>
#define FUNCTION static inline
#endif

#define PAD_VALUE 127.0f

// Along one axis: the first source pixel that an output pixel covers, how many, and the shares of both ends.
typedef struct {
    int begin, end;  // source pixels, end included
    float first, middle, last;
} Span;

// cv2.INTER_AREA: the mean over what the output pixel covers. A sliver below 1e-3 px does not count.
FUNCTION Span area_span(int out, int source_size, int out_size) {
    double scale = (double)source_size / out_size;
    double from = out * scale, to = from + scale;
    double width = scale < source_size - from ? scale : source_size - from;
    int whole_begin = (int)ceil(from), whole_end = (int)floor(to);
    whole_end = whole_end < source_size - 1 ? whole_end : source_size - 1;
    whole_begin = whole_begin < whole_end ? whole_begin : whole_end;
    Span span = {whole_begin, whole_end - 1, 0.0f, (float)(1.0 / width), 0.0f};
    span.first = span.last = span.middle;
    if (to - whole_end > 1e-3) {
        double rest = to - whole_end < 1.0 ? to - whole_end : 1.0;
        span.end = whole_end;
        span.last = (float)((rest < width ? rest : width) / width);
    }
    if (whole_begin - from > 1e-3) {
        span.begin = whole_begin - 1;
        span.first = (float)((whole_begin - from) / width);
    }
    return span;
}

// cv2.INTER_LINEAR: between the two source pixels beside the output pixel's centre; the border's colour goes on.
FUNCTION Span linear_span(int out, int source_size, int out_size) {
    double centre = (out + 0.5) * ((double)source_size / out_size) - 0.5;
    int begin = (int)floor(centre);
    float share = (float)(centre - begin);
    if (begin < 0) begin = 0, share = 0.0f;
    if (begin >= source_size - 1) begin = source_size - 1, share = 0.0f;
    Span span = {begin, begin < source_size - 1 ? begin + 1 : begin, 1.0f - share, 0.0f, share};
    return span;
}

FUNCTION float share_of(Span span, int at) {
    return at == span.begin ? span.first : at == span.end ? span.last : span.middle;
}

// The grey levels (0 to 255, whole) of one colour that cv2.resize gives where it averages.
FUNCTION float averaged(const unsigned char *source, int source_w, Span rows, Span columns, int halves) {
    float sum = 0.0f;
    for (int row = rows.begin; row <= rows.end; row++) {
        const unsigned char *line = source + 3LL * row * source_w;
        float of_row = 0.0f;
        for (int column = columns.begin; column <= columns.end; column++)
            of_row += line[3 * column] * share_of(columns, column);
        sum += of_row * share_of(rows, row);
    }
    return fminf(halves ? floorf(sum + 0.5f) : rintf(sum), 255.0f);  // it rounds halves up where four pixels make one
}

// The same where it interpolates: in fixed point, 11 bits for each share.
FUNCTION float interpolated(const unsigned char *source, int source_w, Span rows, Span columns) {
    int left = (int)rintf(columns.first * 2048.0f), right = (int)rintf(columns.last * 2048.0f);
    int upper = (int)rintf(rows.first * 2048.0f), lower = (int)rintf(rows.last * 2048.0f);
    const unsigned char *above = source + 3LL * rows.begin * source_w, *below = source + 3LL * rows.end * source_w;
    int a = above[3 * columns.begin] * left + above[3 * columns.end] * right;
    int b = below[3 * columns.begin] * left + below[3 * columns.end] * right;
    return (float)((((upper * (a >> 4)) >> 16) + ((lower * (b >> 4)) >> 16) + 2) >> 2);
}

// One input pixel (x, y): uint8 (source_h, source_w, 3) BGR to float (3, input_h, input_w) RGB less the mean.
FUNCTION void letterbox_pixel(const unsigned char *source, float *planes, int x, int y, int source_h, int source_w,
                              int input_h, int input_w, int resized_h, int resized_w, float mean_r, float mean_g,
                              float mean_b) {
    float bgr[3] = {PAD_VALUE, PAD_VALUE, PAD_VALUE};
    if (x < resized_w && y < resized_h) {
        if (resized_w < source_w && resized_h < source_h) {
            Span rows = area_span(y, source_h, resized_h), columns = area_span(x, source_w, resized_w);
            int halves = source_w == 2 * resized_w && source_h == 2 * resized_h;
            for (int c = 0; c < 3; c++) bgr[c] = averaged(source + c, source_w, rows, columns, halves);
        } else {
            Span rows = linear_span(y, source_h, resized_h), columns = linear_span(x, source_w, resized_w);
            for (int c = 0; c < 3; c++) bgr[c] = interpolated(source + c, source_w, rows, columns);
        }
    }
    long long plane = (long long)input_h * input_w, at = (long long)y * input_w + x;
    planes[at] = bgr[2] - mean_r;
    planes[at + plane] = bgr[1] - mean_g;
    planes[at + 2 * plane] = bgr[0] - mean_b;
}

#ifdef __CUDACC__
// A thread for each input pixel; the grid's z counts the pictures of the batch.
extern "C" __global__ void letterbox(const unsigned char *sources, float *planes, int source_h, int source_w,
                                     int input_h, int input_w, int resized_h, int resized_w, float mean_r,
                                     float mean_g, float mean_b) {
    int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= input_w || y >= input_h) return;
    letterbox_pixel(sources + 3LL * blockIdx.z * source_h * source_w, planes + 3LL * blockIdx.z * input_h * input_w, x,
                    y, source_h, source_w, input_h, input_w, resized_h, resized_w, mean_r, mean_g, mean_b);
}
#else
void letterbox(const unsigned char *source, float *planes, int source_h, int source_w, int input_h, int input_w,
               int resized_h, int resized_w, float mean_r, float mean_g, float mean_b) {
    for (int y = 0; y < input_h; y++)
        for (int x = 0; x < input_w; x++)
            letterbox_pixel(source, planes, x, y, source_h, source_w, input_h, input_w, resized_h, resized_w, mean_r,
                            mean_g, mean_b);
}
#endif
