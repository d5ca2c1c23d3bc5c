/* Points on the graphics card. Greyed points are drawn first, so that lit ones lie on top. */
const VERTEX_SHADER = `#version 300 es
in vec2 place;
in float level;
in float lit;
uniform vec2 scale;
uniform vec2 shift;
uniform float size;
uniform float alpha;
uniform float lightOn;
uniform float only;
uniform vec3 grey;
uniform sampler2D levels;
flat out vec4 color;
flat out float softness;
void main() {
  bool isLit = lit > 0.5 && (only < 0.0 || abs(level - only) < 0.5);
  softness = 1.5 / size;
  gl_PointSize = size;
  if (isLit != (lightOn > 0.5)) {
    gl_Position = vec4(2.0, 2.0, 2.0, 1.0);
    return;
  }
  gl_Position = vec4(place * scale + shift, 0.0, 1.0);
  vec3 own = texelFetch(levels, ivec2(int(level + 0.5), 0), 0).rgb;
  color = vec4(isLit ? own : grey, alpha * (isLit && level < 0.5 ? 0.7 : 1.0));
}`;

const FRAGMENT_SHADER = `#version 300 es
precision mediump float;
flat in vec4 color;
flat in float softness;
out vec4 pixel;
void main() {
  float far = length(gl_PointCoord - 0.5);
  float cover = 1.0 - smoothstep(0.5 - softness, 0.5, far);
  if (cover <= 0.0) discard;
  float a = color.a * cover;
  pixel = vec4(color.rgb * a, a);
}`;

const ATTRIBUTES = { place: 2, level: 1, lit: 1 };

/* What draws on a canvas, or null where the browser has no WebGL 2. */
function createPainter(canvas) {
  const gl = canvas.getContext("webgl2", { antialias: false });
  if (!gl) return null;
  const painter = { gl, program: linkProgram(gl), buffers: {}, count: 0 };
  gl.useProgram(painter.program);
  gl.enable(gl.BLEND);
  gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
  gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
  painter.at = (name) => gl.getUniformLocation(painter.program, name);
  return painter;
}

function linkProgram(gl) {
  const program = gl.createProgram();
  for (const [kind, source] of [
    [gl.VERTEX_SHADER, VERTEX_SHADER],
    [gl.FRAGMENT_SHADER, FRAGMENT_SHADER],
  ]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost()) {
    throw new Error(`the map's shaders do not link: ${gl.getProgramInfoLog(program)}`);
  }
  return program;
}

/* Uploads places (uint16, 0..1 on the card), levels or light (uint8 as they are). */
function uploadAttribute(painter, name, array) {
  const { gl, buffers } = painter;
  const buffer = (buffers[name] ??= gl.createBuffer());
  gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
  gl.bufferData(gl.ARRAY_BUFFER, array, gl.STATIC_DRAW);
  const location = gl.getAttribLocation(painter.program, name);
  const wide = array instanceof Uint16Array;
  gl.enableVertexAttribArray(location);
  const type = wide ? gl.UNSIGNED_SHORT : gl.UNSIGNED_BYTE;
  gl.vertexAttribPointer(location, ATTRIBUTES[name], type, wide, 0, 0);
}

function uploadLevels(painter, table) {
  const { gl } = painter;
  gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, 256, 1, 0, gl.RGBA, gl.UNSIGNED_BYTE, table);
}

/* CSS pixels across: smaller the more points there are, larger the closer one looks. */
function pointSize(map) {
  const { width, height, index, view } = map;
  const room = Math.sqrt((width * height) / Math.max(1, index.count));
  return Math.max(2.6, Math.min(6.5, room * 0.72)) * Math.min(3.2, 1 + 0.38 * Math.log2(view.zoom));
}

/* The fewer points are lit among many grey ones, the larger they are. */
function prominence(map) {
  const share = map.litCount / map.index.count;
  if (share > 0.2 || map.index.count < 2_000) return 1;
  return Math.min(3, 1 + 0.45 * Math.log10(0.2 / Math.max(share, 1e-5)) ** 1.2);
}

function paintPoints(map) {
  const { painter, canvases } = map;
  const { gl, at } = painter;
  const { width, height } = canvases.points;
  const scale = mapScale(map);
  const [first, last] = rowsInBox(map.index, visibleBox(map));
  gl.viewport(0, 0, width, height);
  gl.clearColor(0, 0, 0, 0);
  gl.clear(gl.COLOR_BUFFER_BIT);
  const across = (2 * scale) / map.width;
  const down = (2 * scale) / map.height;
  gl.uniform2f(at("scale"), 65535 * across, -65535 * down);
  gl.uniform2f(at("shift"), -map.view.x * across, map.view.y * down);
  gl.uniform3f(at("grey"), ...map.colors.grey.map((value) => value / 255));
  gl.uniform1f(at("only"), map.only ?? -1);
  const size = pointSize(map) * map.density;
  if (map.litCount < map.index.count || map.only != null) {
    paintPass(painter, { lightOn: 0, size, alpha: 0.13 }, first, last);
  }
  paintPass(painter, { lightOn: 1, size: size * prominence(map), alpha: 0.86 }, first, last);
}

function paintPass(painter, uniforms, first, last) {
  const { gl, at } = painter;
  for (const [name, value] of Object.entries(uniforms)) gl.uniform1f(at(name), value);
  gl.drawArrays(gl.POINTS, first, last - first);
}

function clearPoints(map) {
  const { gl } = map.painter;
  gl.clearColor(0, 0, 0, 0);
  gl.clear(gl.COLOR_BUFFER_BIT);
}
