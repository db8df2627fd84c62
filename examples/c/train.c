/* Train a small network on three spirals, save it, load it, predict.
 *
 *   cc train.c $(pkg-config --cflags --libs temper) -lm -o train && ./train model.safetensors */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <temper.h>

enum { SAMPLES = 300, CLASSES = 3 };

static temper_error error;

static void check(int32_t status) {
  if (status) fprintf(stderr, "%s\n", error.message), exit(1);
}

static int32_t show(void *user, const temper_progress *p) {
  (void)user;
  if (p->epoch % 50 == 0) printf("epoch %3d of %d, loss %.4f\n", (int)p->epoch, (int)p->epochs, p->loss);
  return 0; /* 1 would stop */
}

int main(int count, char **arguments) {
  const char *path = count > 1 ? arguments[1] : "model.safetensors";
  const int64_t input[] = {2}, x_sizes[] = {SAMPLES, 2}, y_sizes[] = {SAMPLES}, out_sizes[] = {SAMPLES, CLASSES};
  temper_context *context;
  temper_tensor *x, *y, *logits;
  check(temper_context_create(&context, NULL, &error));
  check(temper_tensor_create(&x, TEMPER_FLOAT32, 2, x_sizes, &error));
  check(temper_tensor_create(&y, TEMPER_INT32, 1, y_sizes, &error));
  check(temper_tensor_create(&logits, TEMPER_FLOAT32, 2, out_sizes, &error));
  float *points = temper_tensor_data(x);
  int32_t *classes = temper_tensor_data(y);
  for (int i = 0; i < SAMPLES; ++i) { /* an arm for each class */
    const double radius = (double)(i / CLASSES + 1) / (SAMPLES / CLASSES), angle = 4 * radius + 2.0944 * (i % CLASSES);
    points[2 * i] = (float)(radius * cos(angle)), points[2 * i + 1] = (float)(radius * sin(angle));
    classes[i] = i % CLASSES;
  }

  temper_model *model, *loaded;
  temper_loss *loss;
  temper_optimizer *optimizer;
  temper_trainer *trainer;
  const temper_param q[] = {temper_real("q", 0.3)}, rate[] = {temper_real("learning_rate", 0.01)};
  check(temper_model_create(&model, context, "[{\"dense\": 64}, \"tanh\", {\"dense\": 3}]", input, 1, 0, 1, &error));
  check(temper_loss_create(&loss, context, "generalized_cross_entropy", q, 1, &error));
  check(temper_optimizer_create(&optimizer, context, "adam", rate, 1, &error));
  check(temper_trainer_create(&trainer, model, loss, optimizer, NULL, NULL, &error));
  const temper_samples samples = {.x = x, .y = y};
  const temper_fit_options fit = {.struct_size = sizeof fit, .epochs = 200, .progress = show};
  check(temper_trainer_fit(trainer, &samples, &fit, &error));

  check(temper_model_save(model, path, &error));
  check(temper_model_load(&loaded, context, path, &error));
  check(temper_model_predict(logits, loaded, x, NULL, &error));
  const float *scores = temper_tensor_data(logits);
  int right = 0;
  for (int i = 0; i < SAMPLES; ++i) {
    const float *s = scores + CLASSES * i;
    right += (s[1] > s[0] ? (s[2] > s[1] ? 2 : 1) : (s[2] > s[0] ? 2 : 0)) == classes[i];
  }
  printf("the loaded model knows %d of %d points\n", right, SAMPLES);
  temper_trainer_free(trainer), temper_optimizer_free(optimizer), temper_loss_free(loss);
  temper_model_free(model), temper_model_free(loaded);
  temper_tensor_free(x), temper_tensor_free(y), temper_tensor_free(logits), temper_context_free(context);
  return right < SAMPLES * 9 / 10;
}
