#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "TemperForeign.h"

// The functions of Python that are used: all of them have been there since Python 3.2, under these names.
#define FUNCTIONS(X)                                                        \
  X(int, Py_IsInitialized, (void))                                          \
  X(void, Py_InitializeEx, (int))                                           \
  X(void *, PyEval_SaveThread, (void))                                      \
  X(int, PyGILState_Ensure, (void))                                         \
  X(void, PyGILState_Release, (int))                                        \
  X(void *, PyModule_New, (const char *))                                   \
  X(void *, PyModule_GetDict, (void *))                                     \
  X(void *, PyEval_GetBuiltins, (void))                                     \
  X(int, PyDict_SetItemString, (void *, const char *, void *))              \
  X(void *, PyDict_GetItemString, (void *, const char *))                   \
  X(void *, Py_CompileString, (const char *, const char *, int))            \
  X(void *, PyEval_EvalCode, (void *, void *, void *))                      \
  X(void *, PyTuple_New, (long))                                            \
  X(int, PyTuple_SetItem, (void *, long, void *))                           \
  X(void *, PyUnicode_FromString, (const char *))                           \
  X(const char *, PyUnicode_AsUTF8AndSize, (void *, long *))                \
  X(void *, PyLong_FromVoidPtr, (void *))                                   \
  X(void *, PyObject_CallObject, (void *, void *))                          \
  X(void *, PyObject_Str, (void *))                                         \
  X(void, PyErr_Fetch, (void **, void **, void **))                         \
  X(void, PyErr_Clear, (void))                                              \
  X(void, Py_IncRef, (void *))                                              \
  X(void, Py_DecRef, (void *))                                              \
  X(void, PyOS_BeforeFork, (void))                                          \
  X(void, PyOS_AfterFork_Parent, (void))                                    \
  X(void, PyOS_AfterFork_Child, (void))

static struct {
#define MEMBER(result, name, parameters) result(*name) parameters;
  FUNCTIONS(MEMBER)
#undef MEMBER
  void *none; // the object None
  void *module; // the bridge
} python;

enum { FILE_INPUT = 257 }; // Py_file_input

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

static int32_t fail(python_message message, const char *format, const char *detail) {
  snprintf(message.text, message.capacity, format, detail);
  return 1;
}

int32_t python_is_running(void) {
  int (*is_initialized)(void) = (int (*)(void))dlsym(RTLD_DEFAULT, "Py_IsInitialized");
  return is_initialized && is_initialized();
}

// An interpreter that is going down takes no calls any more.
static int is_usable(void) {
  int (*is_finalizing)(void) = (int (*)(void))dlsym(RTLD_DEFAULT, "Py_IsFinalizing");
  if (!is_finalizing) is_finalizing = (int (*)(void))dlsym(RTLD_DEFAULT, "_Py_IsFinalizing");
  return python.Py_IsInitialized && python.Py_IsInitialized() && !(is_finalizing && is_finalizing());
}

// In the process already, or the newest version that the system has. Its symbols are global, because extension modules
// look for them there.
static int32_t load(python_message message) {
  void *library = dlsym(RTLD_DEFAULT, "Py_IsInitialized") ? RTLD_DEFAULT : 0;
  for (int minor = 20; !library && minor >= 8; --minor) {
    char name[64];
    snprintf(name, sizeof name, "libpython3.%d.so.1.0", minor);
    library = dlopen(name, RTLD_NOW | RTLD_GLOBAL);
  }
  if (!library) library = dlopen("libpython3.so", RTLD_NOW | RTLD_GLOBAL);
  if (!library && !dlsym(RTLD_DEFAULT, "Py_IsInitialized"))
    return fail(message, "there is no Python in the process, and %s", "no libpython3 that could be loaded; install libpython3");
#define FIND(result, name, parameters) \
  if (!(python.name = (result(*) parameters)dlsym(library, #name))) return fail(message, "this libpython has no %s", #name);
  FUNCTIONS(FIND)
#undef FIND
  python.none = dlsym(library, "_Py_NoneStruct");
  return python.none ? 0 : fail(message, "this libpython has no %s", "None");
}

// The exception that is set, as text.
static int32_t exception(python_message message) {
  void *type = 0, *value = 0, *trace = 0, *text = 0;
  python.PyErr_Fetch(&type, &value, &trace);
  if (value || type) text = python.PyObject_Str(value ? value : type);
  const char *words = text ? python.PyUnicode_AsUTF8AndSize(text, 0) : 0;
  fail(message, "%s", words ? words : "an exception without a text");
  void *const objects[] = {type, value, trace, text};
  for (int i = 0; i < 4; ++i)
    if (objects[i]) python.Py_DecRef(objects[i]);
  python.PyErr_Clear();
  return 1;
}

static void set_flag(const char *name) {
  int *flag = dlsym(RTLD_DEFAULT, name);
  if (flag) *flag = 1;
}

static int32_t run_bridge(const char *bridge, const char *folders, python_message message) {
  void *module = python.PyModule_New("_temper_bridge");
  void *names = module ? python.PyModule_GetDict(module) : 0;
  if (!names) return exception(message);
  void *text = python.PyUnicode_FromString(folders);
  if (!text || python.PyDict_SetItemString(names, "FOLDERS", text)) return exception(message);
  python.Py_DecRef(text);
  python.PyDict_SetItemString(names, "__builtins__", python.PyEval_GetBuiltins());
  void *code = python.Py_CompileString(bridge, "<temper>", FILE_INPUT);
  void *result = code ? python.PyEval_EvalCode(code, names, names) : 0;
  if (code) python.Py_DecRef(code);
  if (!result) return exception(message);
  python.Py_DecRef(result);
  python.module = names;
  return 0;
}

int32_t python_start(const char *bridge, const char *folders, python_message message) {
  pthread_mutex_lock(&turn);
  int32_t status = 0;
  if (!python.module) {
    status = load(message);
    if (!status) {
      const int ours = !python.Py_IsInitialized();
      if (ours) {
        // Which code runs is not for the environment to say, and nothing is written beside the user's files.
        set_flag("Py_IgnoreEnvironmentFlag"), set_flag("Py_NoUserSiteDirectory"), set_flag("Py_DontWriteBytecodeFlag");
        python.Py_InitializeEx(0);
        python.PyEval_SaveThread();
      }
      const int lock = python.PyGILState_Ensure();
      status = run_bridge(bridge, ours ? folders : "", message);
      python.PyGILState_Release(lock);
    }
  }
  pthread_mutex_unlock(&turn);
  return status;
}

void *python_make(const char *name, const char *const *texts, int32_t text_count, void *object, python_message message) {
  if (!is_usable()) return fail(message, "%s", "the interpreter is going down"), (void *)0;
  const int lock = python.PyGILState_Ensure();
  void *function = python.PyDict_GetItemString(python.module, name), *result = 0;
  void *arguments = python.PyTuple_New(text_count + 1);
  for (int32_t i = 0; arguments && i < text_count; ++i) {
    void *text = python.PyUnicode_FromString(texts[i]);
    if (text) {
      python.PyTuple_SetItem(arguments, i, text);
    } else {
      python.Py_DecRef(arguments);
      arguments = 0;
    }
  }
  if (arguments) {
    void *last = object ? object : python.none;
    python.Py_IncRef(last);
    python.PyTuple_SetItem(arguments, text_count, last);
    result = function ? python.PyObject_CallObject(function, arguments) : 0;
    python.Py_DecRef(arguments);
  }
  if (!result) {
    exception(message);
  } else {
    const char *text = python.PyUnicode_AsUTF8AndSize(result, 0);
    if (text) {
      fail(message, "%s", text);
      python.Py_DecRef(result);
      result = 0;
    } else {
      python.PyErr_Clear();
    }
  }
  python.PyGILState_Release(lock);
  return result;
}

int32_t python_evaluate(void *function, const void *address, python_message message) {
  if (!is_usable()) return fail(message, "%s", "the interpreter is going down");
  const int lock = python.PyGILState_Ensure();
  int32_t status = 0;
  void *number = python.PyLong_FromVoidPtr((void *)address), *arguments = python.PyTuple_New(1), *result = 0;
  if (number && arguments) {
    python.PyTuple_SetItem(arguments, 0, number);
    result = python.PyObject_CallObject(function, arguments);
  } else if (number) {
    python.Py_DecRef(number);
  }
  if (arguments) python.Py_DecRef(arguments);
  if (!result) {
    status = exception(message);
  } else {
    if (result != python.none) {
      const char *text = python.PyUnicode_AsUTF8AndSize(result, 0);
      status = fail(message, "%s", text ? text : "no text");
      python.PyErr_Clear();
    }
    python.Py_DecRef(result);
  }
  python.PyGILState_Release(lock);
  return status;
}

void python_release(void *object) {
  if (!object || !is_usable()) return;
  const int lock = python.PyGILState_Ensure();
  python.Py_DecRef(object);
  python.PyGILState_Release(lock);
}

int32_t python_fork(void) {
  if (!is_usable()) return fork();
  const int lock = python.PyGILState_Ensure();
  python.PyOS_BeforeFork();
  const pid_t child = fork();
  if (child == 0) {
    python.PyOS_AfterFork_Child();
    // What the parent left unreachable is not collected here: it may wait for threads that only the parent has.
    int (*disable)(void) = (int (*)(void))dlsym(RTLD_DEFAULT, "PyGC_Disable");
    if (disable) disable();
    return 0;
  }
  python.PyOS_AfterFork_Parent();
  python.PyGILState_Release(lock);
  return child;
}
