// A loss that is right while it is probed, and then does what its parameter `trouble` says. In C++, like anybody's.
#include <arpa/inet.h>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <stdexcept>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <temper_plugin.h>
#include <thread>
#include <unistd.h>

static int32_t said(const temper_loss_call *call, const char *text) {
  std::snprintf(call->message.text, call->message.capacity, "%s", text);
  return 7;
}

static int32_t endless(int32_t depth) {
  volatile char frame[4096];
  frame[0] = static_cast<char>(depth);
  return endless(depth + 1) + frame[0];
}

// Values, gradient, and nothing else: half the squared difference.
static void compute(const temper_loss_call *call) {
  const auto *x = static_cast<const float *>(call->inputs[0].data), *y = static_cast<const float *>(call->inputs[1].data);
  auto *values = static_cast<float *>(call->values), *gradient = static_cast<float *>(call->gradients[0]);
  const int64_t width = call->inputs[0].sizes[1];
  for (int64_t n = 0; n < call->count; ++n) {
    values[n] = 0;
    for (int64_t i = n * width; i < (n + 1) * width; ++i) {
      values[n] += (x[i] - y[i]) * (x[i] - y[i]) / 2;
      if (gradient) gradient[i] = x[i] - y[i];
    }
  }
}

static int32_t evaluate(void *, const temper_loss_call *call) {
  compute(call);
  auto *values = static_cast<float *>(call->values);
  switch (call->parameters[0].integer) {
    case 1: *reinterpret_cast<volatile int *>(16) = 1; break;
    case 2: std::abort();
    case 3: for (volatile int forever = 1; forever;) {} break;
    case 4: std::exit(5);
    case 5: _exit(6);
    case 6: values[call->count + 3] = 1; break;
    case 7: values[-1] = 1; break;
    case 8: static_cast<float *>(const_cast<void *>(call->inputs[0].data))[0] = 1; break;
    case 9: throw std::runtime_error("nobody catches this");
    case 10: return endless(0);
    case 11: raise(SIGSTOP); break;
    case 12: raise(SIGKILL); break;
    case 13: // a hog: all memory there is
      for (;;) {
        char *more = static_cast<char *>(std::malloc(16 << 20));
        if (!more) return said(call, "no more memory");
        std::memset(more, 1, 16 << 20);
      }
    case 14: { // a leak, found out when nothing is left
      static char *volatile kept;
      kept = static_cast<char *>(std::malloc(24 << 20));
      std::memset(kept, 1, 24 << 20);
    } break;
    case 15: std::thread([values] { for (;;) values[0] = -1; }).detach(); break;
    case 16: if (socket(AF_INET, SOCK_STREAM, 0) < 0) return said(call, "no network"); break;
    case 17: if (open("/tmp/temper-trouble", O_CREAT | O_WRONLY, 0600) < 0) return said(call, "no files"); break;
    case 18: if (unlink("/tmp/temper-precious") < 0) return said(call, "no deleting"); break;
    case 19: if (fork() < 0) return said(call, "no processes"); break;
    case 20: if (execl("/bin/true", "true", nullptr) < 0) return said(call, "no programs"); break;
    case 21: if (kill(getppid(), SIGKILL) < 0) return said(call, "no killing"); break;
    case 22: // takes away what it shares with the host
      for (int file = 0; file < 100; ++file)
        if (ftruncate(file, 0)) continue;
      munmap(values, 4096);
      break;
    case 23: for (int file = 0; file < 100; ++file) close(file); break;
    case 24: if (getpid() % 2) std::abort(); break; // every other process is good
    case 25: { const rlimit all = {RLIM_INFINITY, RLIM_INFINITY};
               if (setrlimit(RLIMIT_AS, &all)) return said(call, "no more limits"); } break;
    case 26: { static int beyond = 0; values[0] = static_cast<float>(++beyond); } break;
    default: break;
  }
  return 0;
}

static const temper_plugin_input inputs[] = {
    {.struct_size = sizeof(temper_plugin_input), .element = TEMPER_ELEMENT_REAL, .name = "predictions",
     .shape = "N,D", .flags = TEMPER_INPUT_DIFFERENTIABLE},
    {.struct_size = sizeof(temper_plugin_input), .element = TEMPER_ELEMENT_REAL, .name = "targets", .shape = "N,D"}};

static const temper_plugin_parameter parameters[] = {
    {.struct_size = sizeof(temper_plugin_parameter), .type = TEMPER_PLUGIN_INTEGER, .name = "trouble", .initial = 0,
     .lower = 0, .upper = 99}};

static const temper_plugin_loss losses[] = {
    {.struct_size = sizeof(temper_plugin_loss), .kind = TEMPER_LOSS_FUNCTION, .name = "square",
     .summary = "Half the squared difference, and trouble.", .inputs = inputs, .input_count = 2,
     .parameters = parameters, .parameter_count = 1, .evaluate = evaluate}};

extern "C" const temper_plugin_descriptor temper_plugin_v1;
const temper_plugin_descriptor temper_plugin_v1 = {
    .struct_size = sizeof(temper_plugin_descriptor), .built_for = TEMPER_PLUGIN_REVISION, .min_host = 1,
    .name = "troubled", .version = "0.1", .licence = "MIT", .losses = losses, .loss_count = 1};
