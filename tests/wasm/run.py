"""Runs a WebAssembly program that has the test vectors for its only files: run.py PROGRAM.wasm [argument...]"""

import sys
from pathlib import Path

from wasmtime import Engine, ExitTrap, Linker, Module, Store, WasiConfig

here = Path(__file__).resolve().parent
engine = Engine()
linker = Linker(engine)
linker.define_wasi()
wasi = WasiConfig()
wasi.argv = sys.argv[1:]
wasi.inherit_stdout()
wasi.inherit_stderr()
# Where the tests look for them, being compiled in this package.
wasi.preopen_dir(str(here.parent / "vectors"), str(here / "tests" / "vectors"))
store = Store(engine)
store.set_wasi(wasi)
instance = linker.instantiate(store, Module.from_file(engine, sys.argv[1]))
try:
    instance.exports(store)["_start"](store)
except ExitTrap as trap:
    sys.exit(trap.code)
