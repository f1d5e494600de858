"""What convolutions compute on a GPU beside their matrix products, as a CUDA kernel each.

Letters and axes are those of :mod:`ddgm.fast.kernels.convolution_on_cpu`.  A thread computes its place from its number;
the last axis is that of the images, or of W's channels, so that neighbouring threads read and write neighbouring
numbers.  Sums are gathered by the thread of their result, in the order of the CPU, to the same bits.
"""

import functools

from ddgm.fast.kernels.cuda_kernels import Kernel

# An array may have more than 2³¹ numbers, an axis has less.  Division of 64 bits takes several times that of 32.
PREAMBLE = '''
// Where a place is on its last axis, of n numbers, which is taken away from it.
__device__ inline int last_axis(ptrdiff_t &place, int n) {
    ptrdiff_t others = place >> 32 ? place / n : (unsigned int)(place) / (unsigned int)(n);
    int result = place - others * n;
    place = others;
    return result;
}
'''
_kernel = functools.partial(Kernel, preamble=PREAMBLE)  # whose arrays are raw


# ---- pixels

from_levels = _kernel('from_levels', 'raw uint8 levels', 'raw float32 x', 'x[i] = levels[i] / 255.0f')


# ---- windows, (channels, ksize, ksize, rows, columns, N)

windows = _kernel(
    'windows',
    'raw T x, int32 ksize, int32 stride, int32 pad, int32 height, int32 width, int32 rows, int32 columns, '
    'int32 n_images', 'raw T windows', '''
    ptrdiff_t c = i;
    int k = last_axis(c, n_images), column = last_axis(c, columns), row = last_axis(c, rows);
    ptrdiff_t size = ptrdiff_t(rows) * columns * n_images, place = i - c * size;
    for (int a = 0; a < ksize; ++a) {
        for (int b = 0; b < ksize; ++b) {
            int h = row * stride + a - pad, w = column * stride + b - pad;
            bool inside = h >= 0 && h < height && w >= 0 && w < width;
            windows[((c * ksize + a) * ksize + b) * size + place] =
                inside ? x[((c * height + h) * width + w) * n_images + k] : T(0);
        }
    }''')
windows_transposed = _kernel(
    'windows_transposed',
    'raw T windows, raw T b, int32 biased, int32 ksize, int32 stride, int32 pad, int32 height, int32 width, '
    'int32 rows, int32 columns, int32 n_images', 'raw T x', '''
    ptrdiff_t c = i, size = ptrdiff_t(rows) * columns * n_images;
    int k = last_axis(c, n_images), w = last_axis(c, width) + pad, h = last_axis(c, height) + pad;
    T sum = 0;
    for (int a = h % stride; a < ksize && a <= h; a += stride) {
        for (int e = w % stride; e < ksize && e <= w; e += stride) {
            int row = (h - a) / stride, column = (w - e) / stride;
            if (row < rows && column < columns)
                sum += windows[((c * ksize + a) * ksize + e) * size + (row * columns + column) * n_images + k];
        }
    }
    x[i] = biased ? sum + b[c] : sum''')


# ---- minimal filtering: the 9 parts i, j of a tile by one thread, as x[2t], x[2t+1], x[2t+2] are rows and columns

differences = _kernel(
    'differences',
    'raw T x, int32 pad, int32 channels, int32 height, int32 width, int32 rows, int32 columns, int32 n_images, '
    'int64 size', 'raw T D', '''
    ptrdiff_t pq = i;
    int k = last_axis(pq, n_images), s = last_axis(pq, columns), t = last_axis(pq, rows), c = last_axis(pq, channels);
    T parts[3][3];
    for (int a = 0; a < 3; ++a) {
        T pixels[3];
        for (int b = 0; b < 3; ++b) {
            int h = 4 * t + int(pq / 2) + 2 * a - pad, w = 4 * s + int(pq % 2) + 2 * b - pad;
            bool inside = h >= 0 && h < height && w >= 0 && w < width;
            pixels[b] = inside ? x[((ptrdiff_t(c) * height + h) * width + w) * n_images + k] : T(0);
        }
        parts[a][0] = pixels[0] - pixels[1];
        parts[a][1] = pixels[1];
        parts[a][2] = pixels[2] - pixels[1];
    }
    for (int j = 0; j < 3; ++j) {
        D[j * size + i] = parts[0][j] - parts[1][j];
        D[(3 + j) * size + i] = parts[1][j];
        D[(6 + j) * size + i] = parts[2][j] - parts[1][j];
    }''')
# A thread has the pixels [2t], [2t+1] of rows and of columns, so there is one tile more than D has; [2t] is the last of
# the tile before, too.
differences_transposed = _kernel(
    'differences_transposed',
    'raw T D, raw T b, int32 biased, int32 pad, int32 channels, int32 height, int32 width, int32 rows, int32 columns, '
    'int32 n_images', 'raw T x', '''
    ptrdiff_t c = i;
    int k = last_axis(c, n_images), s = last_axis(c, columns + 1), t = last_axis(c, rows + 1);
    int q = last_axis(c, 2), p = last_axis(c, 2);
    T pixels[2][4];
    for (int from = 0; from < 4; ++from) {
        T parts[4];
        for (int of = 0; of < 4; ++of) {
            int row = of < 3 ? t : t - 1, column = from < 3 ? s : s - 1;
            ptrdiff_t part = ((min(of, 2) * 3 + min(from, 2)) * 2 + p) * 2 + q;
            bool inside = row >= 0 && row < rows && column >= 0 && column < columns;
            parts[of] = inside ? D[(((part * channels + c) * rows + row) * columns + column) * n_images + k] : T(0);
        }
        pixels[0][from] = parts[0] + parts[3];
        pixels[1][from] = parts[1] - parts[0] - parts[2];
    }
    for (int a = 0; a < 2; ++a) {
        T *of = pixels[a], pair[2] = {of[0] + of[3], of[1] - of[0] - of[2]};
        for (int e = 0; e < 2; ++e) {
            int h = 4 * t + p + 2 * a - pad, w = 4 * s + q + 2 * e - pad;
            if (h >= 0 && h < height && w >= 0 && w < width)
                x[((c * height + h) * width + w) * n_images + k] = biased ? pair[e] + b[c] : pair[e];
        }
    }''')
sums = _kernel(
    'sums',
    'raw T M, raw T b, int32 biased, int32 height, int32 width, int32 rows, int32 columns, int32 n_images, int64 size',
    'raw T y', '''
    ptrdiff_t o = i;
    int k = last_axis(o, n_images), s = last_axis(o, columns), t = last_axis(o, rows);
    for (int row = 0; row < 2; ++row) {
        T parts[3];
        for (int j = 0; j < 3; ++j)
            parts[j] = M[(3 * row + j) * size + i] + M[(3 * row + 3 + j) * size + i];
        for (int column = 0; column < 2; ++column) {
            T sum = parts[column] + parts[column + 1];
            if (2 * t + row < height && 2 * s + column < width)
                y[((o * height + 2 * t + row) * width + 2 * s + column) * n_images + k] = biased ? sum + b[o] : sum;
        }
    }''')
sums_transposed = _kernel(
    'sums_transposed',
    'raw T y, int32 height, int32 width, int32 rows, int32 columns, int32 n_images, int64 size', 'raw T M', '''
    ptrdiff_t o = i;
    int k = last_axis(o, n_images), s = last_axis(o, columns), t = last_axis(o, rows);
    T parts[2][3];
    for (int row = 0; row < 2; ++row) {
        T pair[2];
        for (int column = 0; column < 2; ++column) {
            bool inside = 2 * t + row < height && 2 * s + column < width;
            pair[column] = inside ? y[((o * height + 2 * t + row) * width + 2 * s + column) * n_images + k] : T(0);
        }
        parts[row][0] = pair[0];
        parts[row][1] = pair[0] + pair[1];
        parts[row][2] = pair[1];
    }
    for (int j = 0; j < 3; ++j) {
        M[j * size + i] = parts[0][j];
        M[(3 + j) * size + i] = parts[0][j] + parts[1][j];
        M[(6 + j) * size + i] = parts[1][j];
    }''')

# Kernels (O, C, 4, 4) and G, (i·j, O, p·q·C) or, for the product of its transpose, (i·j, p·q·C, O): steps say which.
kernel_sums = _kernel(
    'kernel_sums',
    'raw T W, int32 n_inner, int64 outer_of_W, int64 inner_of_W, int64 outer_of_G, int64 parity_of_G, int64 size',
    'raw T G', '''
    ptrdiff_t outer = i;
    int inner = last_axis(outer, n_inner);
    ptrdiff_t kernel = 16 * (outer * outer_of_W + inner * inner_of_W), place = outer * outer_of_G + inner;
    for (int pq = 0; pq < 4; ++pq) {
        T rows[3][2];
        for (int b = 0; b < 2; ++b) {
            T first = W[kernel + pq / 2 * 4 + pq % 2 + 2 * b], second = W[kernel + pq / 2 * 4 + pq % 2 + 2 * b + 8];
            rows[0][b] = first;
            rows[1][b] = first + second;
            rows[2][b] = second;
        }
        for (int j = 0; j < 3; ++j) {
            G[3 * j * size + pq * parity_of_G + place] = rows[j][0];
            G[(3 * j + 1) * size + pq * parity_of_G + place] = rows[j][0] + rows[j][1];
            G[(3 * j + 2) * size + pq * parity_of_G + place] = rows[j][1];
        }
    }''')
kernel_sums_transposed = _kernel(
    'kernel_sums_transposed', 'raw T G, int32 channels, int64 size', 'raw T W', '''
    ptrdiff_t o = i;
    int c = last_axis(o, channels);
    for (int pq = 0; pq < 4; ++pq) {
        for (int b = 0; b < 2; ++b) {
            T rows[3];
            for (int j = 0; j < 3; ++j) {
                ptrdiff_t place = (3 * j + b) * size + (o * 4 + pq) * channels + c;
                rows[j] = G[place] + G[place + size];
            }
            W[16 * i + pq / 2 * 4 + pq % 2 + 2 * b] = rows[0] + rows[1];
            W[16 * i + pq / 2 * 4 + pq % 2 + 2 * b + 8] = rows[1] + rows[2];
        }
    }''')
