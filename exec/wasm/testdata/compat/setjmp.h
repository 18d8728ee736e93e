// Without the exception-handling proposal there is no way back: what would jump traps.
#pragma once
typedef int jmp_buf[1];
#define setjmp(b) ((void)(b), 0)
_Noreturn static inline void longjmp(jmp_buf b, int v) { (void)b, (void)v; __builtin_trap(); }
