/* A Node.js addon that makes any system call, for tests that try to get out of a jail: the worst that
 * code could do after taking node over. Numbers stay numbers, buffers become pointers. */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

typedef struct env *napi_env;
typedef struct value *napi_value;
typedef struct info *napi_callback_info;
typedef napi_value (*napi_callback)(napi_env, napi_callback_info);
extern int napi_get_cb_info(napi_env, napi_callback_info, size_t *, napi_value *, napi_value *, void **);
extern int napi_get_value_int64(napi_env, napi_value, int64_t *);
extern int napi_get_buffer_info(napi_env, napi_value, void **, size_t *);
extern int napi_create_int64(napi_env, int64_t, napi_value *);
extern int napi_create_function(napi_env, const char *, size_t, napi_callback, void *, napi_value *);

static napi_value raw(napi_env env, napi_callback_info info)
{
	napi_value given[7], result;
	int64_t words[7] = {0};
	size_t count = 7;

	napi_get_cb_info(env, info, &count, given, NULL, NULL);
	for (size_t i = 0; i < count && i < 7; i++) {
		void *data;
		if (napi_get_value_int64(env, given[i], &words[i]) != 0 &&
		    napi_get_buffer_info(env, given[i], &data, NULL) == 0)
			words[i] = (int64_t)(intptr_t)data;
	}
	long got = syscall(words[0], words[1], words[2], words[3], words[4], words[5], words[6]);
	napi_create_int64(env, got < 0 ? -(int64_t)errno : got, &result);
	return result;
}

napi_value napi_register_module_v1(napi_env env, napi_value exports)
{
	napi_value function;
	(void)exports;
	napi_create_function(env, "raw", (size_t)-1, raw, NULL, &function);
	return function;
}
