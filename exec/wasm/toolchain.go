package wasm

// A Toolchain is what compiles programs natively on this host.
type Toolchain struct {
	Wasm2c   string `json:"wasm2c"`   // name and version
	Compiler string `json:"compiler"` // as it says itself
}
