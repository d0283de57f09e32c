/* banned: libc calls that this project does not use, turned into compile errors. Included by str.h,
 * so everywhere. Macros rather than poison, which would also hit the headers that declare them. */
#ifndef INFERD_BANNED_H
#define INFERD_BANNED_H

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Writes without a bound: buf, arena_printf, snprintf, memcpy. */
#undef strcpy
#undef strcat
#undef strncpy
#undef strncat
#undef sprintf
#undef vsprintf
#define strcpy(...)   banned_use_arena_dup_or_memcpy
#define strcat(...)   banned_use_buf
#define strncpy(...)  banned_use_memcpy
#define strncat(...)  banned_use_buf
#define sprintf(...)  banned_use_snprintf_or_buf_printf
#define vsprintf(...) banned_use_vsnprintf_or_buf_vprintf
#define gets(...)     banned_use_fgets

/* No way to tell an error: str_to_i64. */
#define atoi(...) banned_use_str_to_i64
#define atol(...) banned_use_str_to_i64
#define atof(...) banned_use_strtod

/* State shared by all threads: str_split, clock_iso8601, gmtime_r. */
#define strtok(...)    banned_use_str_split
#define gmtime(...)    banned_use_clock_iso8601
#define localtime(...) banned_use_clock_iso8601
#define ctime(...)     banned_use_clock_iso8601
#define asctime(...)   banned_use_clock_iso8601

/* Would change how numbers are read and written everywhere. */
#define setlocale(...) banned_numbers_are_in_the_c_locale

/* Stack by a number that may come from outside: an arena. */
#undef alloca
#define alloca(...) banned_use_an_arena

#endif
