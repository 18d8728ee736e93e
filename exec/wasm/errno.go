package wasm

// errno is a WASI preview 1 error number, as the guest sees it.
type errno uint32

// Source: WASI snapshot preview 1, type errno.
const (
	success     errno = 0
	eBadf       errno = 8
	eExist      errno = 20
	eFault      errno = 21
	eFbig       errno = 22
	eIlseq      errno = 25
	eInval      errno = 28
	eIsdir      errno = 31
	eMfile      errno = 33
	eNametoolng errno = 37
	eNoent      errno = 44
	eNotdir     errno = 54
	eNotempty   errno = 55
	eNotsup     errno = 58
	ePerm       errno = 63
	eRofs       errno = 69
	eSpipe      errno = 70
	eNotcapable errno = 76
)
