// Asks for something that is not WASI.
__attribute__((import_module("env"), import_name("launch"))) int launch(void);
int _start_value;
void _start(void) { _start_value = launch(); }
