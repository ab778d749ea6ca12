// Writes arrays with zarrita: node zarrita.mjs NODE_MODULES ROOT
// Element i of each is i * 3 + 1, i counting in C order; the chunks that begin at row 8 are left out.
// Not here, as zarrita 0.7 cannot write them: gzip, zlib, vlen-utf8, shards, 64-bit integers (whose fill value it cannot
// put down).
import { pathToFileURL } from "node:url";

const [modules, root] = process.argv.slice(2);
const load = (file) => import(pathToFileURL(`${modules}/${file}`));
const zarr = await load("zarrita/dist/src/index.js");
const { default: FileSystemStore } = await load("@zarrita/storage/dist/src/fs.js");

const SHAPE = [11, 7];
const CHUNK_SHAPE = [4, 3];
const bytes = { name: "bytes", configuration: { endian: "little" } };
const big = { name: "bytes", configuration: { endian: "big" } };
const codecs = {
  raw: [bytes],
  big_endian: [big],
  lz4: [bytes, { name: "numcodecs.lz4", configuration: { acceleration: 1 } }],
  zstd: [bytes, { name: "zstd", configuration: { level: 1, checksum: false } }],
  blosc: [
    bytes,
    { name: "blosc", configuration: { cname: "lz4", clevel: 5, shuffle: "shuffle", typesize: 4, blocksize: 0 } },
  ],
  transpose: [{ name: "transpose", configuration: { order: [1, 0] } }, bytes],
};
const arrays = {
  int8: Int8Array,
  uint8: Uint8Array,
  int16: Int16Array,
  uint16: Uint16Array,
  int32: Int32Array,
  uint32: Uint32Array,
  float32: Float32Array,
  float64: Float64Array,
};

for (const [dtype, TypedArray] of Object.entries(arrays)) {
  for (const [name, list] of Object.entries(codecs)) {
    const location = zarr.root(new FileSystemStore(`${root}/${dtype}-${name}`));
    const array = await zarr.create(location, {
      shape: SHAPE,
      chunkShape: CHUNK_SHAPE,
      dtype,
      codecs: list,
      fillValue: 0,
      dimensionNames: ["y", "x"],
      attributes: { writer: "zarrita" },
    });
    const data = new TypedArray(8 * SHAPE[1]).map((_, i) => i * 3 + 1);
    await zarr.set(array, [zarr.slice(0, 8), null], { data, shape: [8, SHAPE[1]], stride: [SHAPE[1], 1] });
  }
}
