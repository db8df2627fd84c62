// The headers from C++: handles in owners, errors as exceptions, nothing else needed.
#include <temper.h>
#include <temper_api.h>
#include <temper_dlpack.h>
#include <temper_plugin.h>

#include <cstdio>
#include <memory>
#include <stdexcept>
#include <vector>

namespace {
void check(int32_t status) {
  if (status != TEMPER_OK) throw std::runtime_error(temper_last_error()->message);
}

struct Free {
  void operator()(temper_context *context) const { temper_context_free(context); }
  void operator()(temper_tensor *tensor) const { temper_tensor_free(tensor); }
  void operator()(temper_loss *loss) const { temper_loss_free(loss); }
};
template <class T>
using Owner = std::unique_ptr<T, Free>;

Owner<temper_tensor> borrow(std::vector<double> &values, std::vector<int64_t> sizes) {
  temper_buffer buffer = {};
  buffer.struct_size = sizeof buffer;
  buffer.dtype = TEMPER_FLOAT64;
  buffer.rank = static_cast<int32_t>(sizes.size());
  buffer.data = values.data();
  buffer.byte_length = values.size() * sizeof(double);
  buffer.sizes = sizes.data();
  temper_tensor *tensor = nullptr;
  check(temper_tensor_borrow(&tensor, &buffer, nullptr));
  return Owner<temper_tensor>(tensor);
}
}  // namespace

int main() try {
  temper_context *made = nullptr;
  temper_loss *loss = nullptr;
  check(temper_context_create(&made, nullptr, nullptr));
  const Owner<temper_context> context(made);
  const temper_param params[] = {temper_real("delta", 1.0)};
  check(temper_loss_create(&loss, context.get(), "huber", params, 1, nullptr));
  const Owner<temper_loss> owner(loss);
  std::vector<double> predictions = {0.5, 3}, targets = {0, 0}, values(2);
  const auto x = borrow(predictions, {2, 1}), y = borrow(targets, {2, 1}), v = borrow(values, {2});
  const temper_named_tensor inputs[] = {{"predictions", x.get()}, {"targets", y.get()}};
  check(temper_loss_evaluate(v.get(), loss, inputs, 2, nullptr));
  const bool right = values[0] == 0.125 && values[1] == 2.5;  // z^2 / 2, and |z| - 1/2 beyond 1
  bool refused = false;
  try {
    check(temper_loss_create(&loss, context.get(), "hubert", nullptr, 0, nullptr));
  } catch (const std::runtime_error &) {
    refused = true;
  }
  std::printf("from_cpp: %s\n", right && refused ? "right" : "wrong");
  return right && refused ? 0 : 1;
} catch (const std::exception &error) {
  std::fprintf(stderr, "from_cpp: %s\n", error.what());
  return 1;
}
