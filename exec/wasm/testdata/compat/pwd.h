#pragma once
struct passwd { char *pw_name, *pw_dir; };
static inline struct passwd *getpwuid(int u) { return (void)u, (struct passwd *)0; }
