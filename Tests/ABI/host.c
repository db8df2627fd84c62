/* A host that loads the library at run time and uses its table; how long that takes. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>

#include "check.h"
#include "temper_api.h"

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

int main(int count, char **arguments) {
  if (count != 2) return 2;
  const double start = now();
  void *library = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
  const double loaded = now();
  if (!library) return fprintf(stderr, "%s\n", dlerror()), 2;
  temper_get_api_function get = NULL;
  *(void **)&get = dlsym(library, "temper_get_api");
  uint32_t granted = 77;
  TRUE(get(0, &granted) == NULL && granted == 0);
  const temper_api *api = get(1000, &granted);
  TRUE(api && granted == TEMPER_API_VERSION && get(1, NULL) == api);
  TRUE(api->struct_size == sizeof(temper_api) && api->table_version == TEMPER_API_VERSION);
  TRUE(api->version() == TEMPER_VERSION);
  /* Every slot has a function, and it is the one of that name. */
  void *const *slots = (void *const *)((const char *)api + 8);
  for (size_t i = 0; i < (sizeof(temper_api) - 8) / sizeof(void *); ++i) {
    Dl_info information;
    TRUE(slots[i] && dladdr(slots[i], &information) && information.dli_sname &&
         !strncmp(information.dli_sname, "temper_", 7));
  }
  TRUE((void *)(uintptr_t)api->tensor_create == dlsym(library, "temper_tensor_create"));
  TRUE((void *)(uintptr_t)api->plugin_free == dlsym(library, "temper_plugin_free"));
  temper_context *context = NULL;
  temper_op *op = NULL;
  temper_tensor *x = NULL, *y = NULL;
  const int64_t sizes[] = {2, 3};
  const temper_context_options options = {.struct_size = sizeof options, .threads = 1};
  TRUE(!api->context_create(&context, &options, &error));
  TRUE(!api->op_create(&op, context, "relu", NULL, 0, &error));
  TRUE(!api->tensor_create(&x, TEMPER_FLOAT32, 2, sizes, &error) &&
       !api->tensor_create(&y, TEMPER_FLOAT32, 2, sizes, &error));
  ((float *)api->tensor_data(x))[4] = 2, ((float *)api->tensor_data(x))[5] = -2;
  const temper_named_tensor inputs[] = {{"x", x}};
  TRUE(!api->op_evaluate(y, op, inputs, 1, -1, &error));
  TRUE(((float *)api->tensor_data(y))[4] == 2 && ((float *)api->tensor_data(y))[5] == 0);
  const double first = now();
  printf("loaded in %.2f ms, first result after %.2f ms\n", loaded - start, first - start);
  TRUE(loaded - start < 10);
  /* 64 bytes, nothing allocated that is not given back: calls cost little. */
  const double begin = now();
  for (int i = 0; i < 1000000; ++i) api->tensor_data(x);
  printf("a call takes %.1f ns\n", (now() - begin));
  return failures != 0 ? 1 : 0;
}
