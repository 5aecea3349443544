// A libcuda.so.1 whose GPU is the processor: memory is malloc's, work is done at once, the only kernel is the letterbox.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "letterbox.cu"

typedef int Result;
typedef unsigned long long Pointer;
enum { NOT_FOUND = 500, OUT_OF_MEMORY = 2, NO_GRAPHS = 801 };

static int contexts;  // calls outside of a context fail, as they do on a GPU
#define INSIDE if (contexts == 0) return 201

Result cuInit(unsigned flags) { return flags ? 1 : 0; }
Result cuDriverGetVersion(int *version) { return *version = 13000, 0; }
Result cuDeviceGet(int *device, int index) { return *device = 0, index ? 101 : 0; }
Result cuDeviceGetCount(int *count) { return *count = 1, 0; }
Result cuDeviceGetName(char *name, int size, int device) { return strncpy(name, "Processor", size), device; }
Result cuDeviceGetAttribute(int *value, int attribute, int device) { return *value = attribute == 75 ? 8 : 9, device; }
Result cuDeviceTotalMem_v2(size_t *size, int device) { return *size = 1 << 30, device; }
Result cuDevicePrimaryCtxRetain(void **context, int device) { return *context = &contexts, device; }
Result cuDevicePrimaryCtxRelease_v2(int device) { return device; }
Result cuCtxPushCurrent_v2(void *context) { return contexts++, context == &contexts ? 0 : 201; }
Result cuCtxPopCurrent_v2(void **context) { return contexts--, *context = &contexts, 0; }
Result cuCtxSynchronize(void) { INSIDE; return 0; }
Result cuStreamCreate(void **stream, unsigned flags) { INSIDE; return *stream = malloc(1), flags != 1; }
Result cuStreamDestroy_v2(void *stream) { INSIDE; return free(stream), 0; }
Result cuEventCreate(void **event, unsigned flags) { INSIDE; return *event = malloc(1), flags != 2; }
Result cuEventDestroy_v2(void *event) { INSIDE; return free(event), 0; }
Result cuEventRecord(void *event, void *stream) { INSIDE; return !event || !stream; }
Result cuEventSynchronize(void *event) { INSIDE; return !event; }
Result cuMemAlloc_v2(Pointer *buffer, size_t size) {
    INSIDE;
    if (size > 1 << 30) return OUT_OF_MEMORY;
    return *buffer = (Pointer)(uintptr_t)malloc(size), 0;
}
Result cuMemFree_v2(Pointer buffer) { INSIDE; return free((void *)(uintptr_t)buffer), 0; }
Result cuMemHostAlloc(void **memory, size_t size, unsigned flags) { INSIDE; return *memory = malloc(size), (int)flags; }
Result cuMemFreeHost(void *memory) { INSIDE; return free(memory), 0; }
Result cuMemcpyHtoDAsync_v2(Pointer to, const void *from, size_t size, void *stream) {
    INSIDE;
    return memcpy((void *)(uintptr_t)to, from, size), !stream;
}
Result cuMemcpyDtoHAsync_v2(void *to, Pointer from, size_t size, void *stream) {
    INSIDE;
    return memcpy(to, (void *)(uintptr_t)from, size), !stream;
}
Result cuModuleLoadData(void **module, const void *image) {
    INSIDE;
    return *module = &contexts, memcmp(image, "machine code", 12) != 0;
}
Result cuModuleGetFunction(void **function, void *module, const char *name) {
    INSIDE;
    return *function = module, strcmp(name, "letterbox") != 0;
}
Result cuLaunchKernel(void *function, unsigned x, unsigned y, unsigned z, unsigned bx, unsigned by, unsigned bz,
                      unsigned shared, void *stream, void **p, void **extra) {
    INSIDE;
    if (!function || !stream || shared || extra || bz != 1) return 1;
    int n[6];
    float mean[3];
    for (int i = 0; i < 6; i++) n[i] = *(int *)p[2 + i];
    for (int i = 0; i < 3; i++) mean[i] = *(float *)p[8 + i];
    if (x * bx < (unsigned)n[3] || y * by < (unsigned)n[2]) return 1;
    for (unsigned i = 0; i < z; i++)
        letterbox(*(unsigned char **)p[0] + 3LL * i * n[0] * n[1], *(float **)p[1] + 3LL * i * n[2] * n[3], n[0], n[1],
                  n[2], n[3], n[4], n[5], mean[0], mean[1], mean[2]);
    return 0;
}
Result cuStreamBeginCapture_v2(void *stream, int mode) { return !stream || mode != 1; }
Result cuStreamEndCapture(void *stream, void **graph) { return *graph = 0, stream ? NO_GRAPHS : 1; }
Result cuGetErrorName(Result status, const char **name) { return *name = "CUDA_ERROR", status * 0; }
Result cuGetErrorString(Result status, const char **text) { return *text = "an error", status * 0; }
Result cuGetProcAddress_v2(const char *name, void **function, int version, uint64_t flags, int *found) {
    char newest[128];
    strncpy(newest, name, 100);
    *function = dlsym(RTLD_DEFAULT, strcat(newest, "_v2"));
    if (!*function) *function = dlsym(RTLD_DEFAULT, name);
    if (found) *found = *function ? 0 : 1;
    return *function || !version || flags > 2 ? 0 : NOT_FOUND;
}
Result cuGetProcAddress(const char *name, void **function, int version, uint64_t flags) {
    return cuGetProcAddress_v2(name, function, version, flags, 0);
}
