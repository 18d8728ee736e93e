//go:build ignore

/* fractal renders one tile of a picture: a sphereflake (Haines 1987, "A proposal for standard graphics
 * environments", IEEE CG&A 7:11) over a polished floor at sunset, by ray tracing with soft shadows and reflections.
 *
 * stdin:  "x0 y0 w h W H": the tile's corner and size, and the size of the whole picture, in pixels
 * stdout: a PPM of the tile, with a comment "# x0 y0 W H" that says where it belongs
 * exit 2 when the line is not six sensible numbers
 */
#include <math.h>
#include <stdint.h>

#include "p3.h"

enum { LEVELS = 5, SPHERES = 1 + 9 + 81 + 729 + 6561, BOUNCES = 5, GRID = 3, MAX_TILE = 1 << 20, MAX_SIDE = 1 << 14 };

typedef struct { double x, y, z; } vec;

static vec v(double x, double y, double z) { return (vec){x, y, z}; }
static vec add(vec a, vec b) { return v(a.x + b.x, a.y + b.y, a.z + b.z); }
static vec sub(vec a, vec b) { return v(a.x - b.x, a.y - b.y, a.z - b.z); }
static vec mul(vec a, double k) { return v(a.x * k, a.y * k, a.z * k); }
static vec tint(vec a, vec b) { return v(a.x * b.x, a.y * b.y, a.z * b.z); }
static double dot(vec a, vec b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
static vec cross(vec a, vec b) { return v(a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x); }
static vec unit(vec a) { return mul(a, 1 / sqrt(dot(a, a))); }
static vec mix(vec a, vec b, double t) { return add(mul(a, 1 - t), mul(b, t)); }
static double clamp(double x) { return x < 0 ? 0 : x > 1 ? 1 : x; }

/* The spheres in depth-first order: a ray that misses a subtree's bound goes on at skip. */
typedef struct {
	vec centre;
	double r2, bound2; /* squared radii of the sphere and of all that grows on it */
	int level, skip;
} sphere;

static sphere flake[SPHERES];
static int count;

/* The directions of children around a parent whose own direction is +z: six on the equator, three above. */
static vec around[9];

static void grow(vec centre, double r, vec up, int level) {
	int me = count++;
	double extent = 0;
	for (int i = LEVELS - 1; i > level; i--)
		extent = (extent + 2) / 3;
	double bound = r * (1 + extent) * 1.0001;
	flake[me] = (sphere){centre, r * r, bound * bound, level, 0};
	if (level + 1 < LEVELS) {
		vec side = unit(cross(fabs(up.x) < 0.6 ? v(1, 0, 0) : v(0, 1, 0), up)), front = cross(up, side);
		for (int i = 0; i < 9; i++) {
			vec d = add(add(mul(side, around[i].x), mul(front, around[i].y)), mul(up, around[i].z));
			grow(add(centre, mul(d, r * 4 / 3)), r / 3, d, level + 1);
		}
	}
	flake[me].skip = count;
}

/* hit returns the first sphere on the ray nearer than *t, or -1. With any set, the first found will do. */
static int hit(vec o, vec d, double *t, int any) {
	int found = -1;
	for (int i = 0; i < count;) {
		const sphere *s = &flake[i];
		vec oc = sub(s->centre, o);
		double b = dot(oc, d), c2 = dot(oc, oc), off2 = c2 - b * b; /* squared distance of centre and ray */
		if (off2 > s->bound2 || (b < 0 && c2 > s->bound2) ||
		    (b > *t && (b - *t) * (b - *t) > s->bound2)) {
			i = s->skip;
			continue;
		}
		if (off2 < s->r2) {
			double near = b - sqrt(s->r2 - off2);
			if (near > 1e-6 && near < *t) {
				*t = near;
				found = i;
				if (any)
					return i;
			}
		}
		i++;
	}
	return found;
}

static const vec sun = {-0.62, 0.36, -0.70}; /* made a unit in main */
static vec to_sun;

static vec sky(vec d) {
	double h = clamp(d.y), glow = clamp(dot(d, to_sun));
	vec c = mix(v(1.05, 0.46, 0.18), v(0.30, 0.22, 0.46), clamp(h * 3.6));
	c = mix(c, v(0.025, 0.05, 0.17), clamp(h * 1.9 - 0.2));
	double g2 = glow * glow, g8 = g2 * g2 * g2 * g2, g64 = g8 * g8 * g8 * g8 * g8 * g8 * g8 * g8;
	c = add(c, mul(v(1.0, 0.45, 0.18), 0.45 * g8));
	c = add(c, mul(v(1.0, 0.80, 0.50), 1.2 * g64));
	return glow > 0.9994 ? v(6, 5, 3.6) : c;
}

static const vec paint[LEVELS] = {{1.00, 0.66, 0.20}, {0.95, 0.24, 0.16}, {0.10, 0.50, 0.78}, {0.72, 0.84, 0.98}, {1.0, 0.85, 0.55}};

/* noise is a random number in [0,1) that depends on its state alone. */
static double noise(uint32_t *state) {
	uint32_t x = *state += 0x9e3779b9u;
	x = (x ^ (x >> 16)) * 0x85ebca6bu;
	x = (x ^ (x >> 13)) * 0xc2b2ae35u;
	return (double)((x ^ (x >> 16)) >> 8) / 16777216.0;
}

/* lit is how much of the sun reaches a point: 0 or 1 for one random point of its disc. */
static double lit(vec p, vec n, uint32_t *seed) {
	vec l = add(to_sun, mul(v(noise(seed) - 0.5, noise(seed) - 0.5, noise(seed) - 0.5), 0.05));
	double far = 1e9;
	if (dot(l, n) <= 0)
		return 0;
	return hit(add(p, mul(n, 1e-5)), unit(l), &far, 1) < 0;
}

/* trace follows a ray through its reflections and returns the light that comes back along it. */
static vec trace(vec o, vec d, uint32_t *seed) {
	vec light = {0, 0, 0}, through = {1, 1, 1};
	for (int bounce = 0; bounce < BOUNCES; bounce++) {
		double t = d.y < -1e-9 ? (-1 - o.y) / d.y : 1e9; /* the floor lies at y = -1 */
		int i = hit(o, d, &t, 0);
		if (i < 0 && t >= 1e9)
			return add(light, tint(through, sky(d)));
		vec p = add(o, mul(d, t)), n, colour, mirror;
		double fade = 0;
		if (i >= 0) {
			n = unit(sub(p, flake[i].centre));
			colour = paint[flake[i].level];
			mirror = mul(mix(colour, v(1, 1, 1), 0.35), 0.62);
		} else {
			n = v(0, 1, 0);
			int dark = ((int)floor(p.x * 0.9 + 0.2) + (int)floor(p.z * 0.9)) & 1;
			colour = dark ? v(0.030, 0.030, 0.050) : v(0.26, 0.20, 0.21);
			mirror = v(0.30, 0.30, 0.32);
			fade = clamp((t - 7) / 40); /* into the haze of the horizon */
		}
		double facing = clamp(-dot(n, d)), graze = 1 - facing, g2 = graze * graze, fresnel = g2 * g2 * graze;
		double shine = clamp(dot(n, to_sun));
		if (shine > 0)
			shine *= lit(p, n, seed);
		vec ambient = mix(v(0.16, 0.09, 0.10), v(0.13, 0.15, 0.30), 0.5 + 0.5 * n.y);
		vec diffuse = tint(colour, add(ambient, mul(v(1.55, 1.15, 0.80), shine)));
		vec r = sub(d, mul(n, 2 * dot(n, d)));
		double spark = clamp(dot(r, to_sun)), s4 = spark * spark * spark * spark, s32 = s4 * s4 * s4 * s4 * s4 * s4 * s4 * s4;
		mirror = mix(mirror, v(0.95, 0.95, 0.95), fresnel);
		vec here = mul(diffuse, i >= 0 ? 0.55 : 0.8);
		if (shine > 0 && i >= 0)
			here = add(here, mul(v(1.0, 0.85, 0.6), 0.9 * s32 * s32));
		light = add(light, tint(through, mix(here, sky(unit(v(d.x, 0.02, d.z))), fade)));
		through = mul(tint(through, mirror), 1 - fade);
		if (through.x + through.y + through.z < 0.03)
			break;
		o = add(p, mul(n, 1e-5));
		d = r;
	}
	return light;
}

/* tone maps light to a byte: a soft shoulder, gamma 2, a little more contrast. */
static uint8_t tone(double x) {
	x = x * (1 + x / 6) / (1 + x * 0.55);
	x = sqrt(clamp(x));
	x = 0.45 * x + 0.55 * x * x * (3 - 2 * x);
	return (uint8_t)(x * 255 + 0.5);
}

static int number(const char **s, long *n) {
	while (**s == ' ')
		++*s;
	if (**s < '0' || **s > '9')
		return 0;
	for (*n = 0; **s >= '0' && **s <= '9' && *n < 1000000; ++*s)
		*n = *n * 10 + (**s - '0');
	return 1;
}

static char *put(char *p, const char *s) {
	while (*s)
		*p++ = *s++;
	return p;
}

static char *put_number(char *p, long n) {
	if (n >= 10)
		p = put_number(p, n / 10);
	*p++ = (char)('0' + n % 10);
	return p;
}

int main(void) {
	size_t len;
	const char *line = p3_input(&len);
	long in[6];
	for (int i = 0; i < 6; i++)
		if (!line || !number(&line, &in[i]))
			return 2;
	long x0 = in[0], y0 = in[1], w = in[2], h = in[3], width = in[4], height = in[5];
	if (w < 1 || h < 1 || width < 1 || height < 1 || width > MAX_SIDE || height > MAX_SIDE || w * h > MAX_TILE ||
	    x0 + w > width || y0 + h > height)
		return 2;

	to_sun = unit(sun);
	for (int i = 0; i < 9; i++) { /* cos and sin of multiples of 60 degrees, without a library */
		static const double c[6] = {1, 0.5, -0.5, -1, -0.5, 0.5}, s[6] = {0, 0.8660254037844386, 0.8660254037844386, 0, -0.8660254037844386, -0.8660254037844386};
		around[i] = i < 6 ? v(c[i], s[i], 0)
		                  : v(0.5773502691896258 * (s[2 * (i - 6)]), -0.5773502691896258 * c[2 * (i - 6)], 0.816496580927726);
	}
	grow(v(0, 0.18, 0), 1, unit(v(0.12, 1, -0.22)), 0);

	vec eye = v(2.2, 1.15, -3.9), at = v(0.0, 0.20, 0), forward = unit(sub(at, eye));
	vec right = unit(cross(v(0, 1, 0), forward)), up = cross(forward, right);
	double scale = 0.98 / (double)(height < width ? height : width);

	uint8_t *out = malloc((size_t)(w * h) * 3 + 128);
	if (!out)
		return 1;
	char *p = (char *)out;
	p = put(p, "P6\n# ");
	p = put_number(p, x0), *p++ = ' ';
	p = put_number(p, y0), *p++ = ' ';
	p = put_number(p, width), *p++ = ' ';
	p = put_number(p, height), *p++ = '\n';
	p = put_number(p, w), *p++ = ' ';
	p = put_number(p, h);
	p = put(p, "\n255\n");

	for (long y = y0; y < y0 + h; y++) {
		for (long x = x0; x < x0 + w; x++) {
			vec sum = {0, 0, 0};
			uint32_t seed = (uint32_t)(y * width + x) * 2654435761u; /* of the pixel: tiles fit without a seam */
			for (int k = 0; k < GRID * GRID; k++) {
				double u = (double)x + ((k % GRID) + noise(&seed)) / GRID - 0.5 * (double)width;
				double w = (double)y + ((k / GRID) + noise(&seed)) / GRID - 0.5 * (double)height;
				vec d = unit(add(forward, add(mul(right, u * scale), mul(up, -w * scale))));
				vec c = trace(eye, d, &seed);
				/* one very bright ray must not own the pixel */
				sum = add(sum, v(fmin(c.x, 3), fmin(c.y, 3), fmin(c.z, 3)));
			}
			sum = mul(sum, 1.0 / (GRID * GRID));
			*p++ = (char)tone(sum.x);
			*p++ = (char)tone(sum.y);
			*p++ = (char)tone(sum.z);
		}
	}
	return p3_output(out, (size_t)(p - (char *)out)) < 0;
}
