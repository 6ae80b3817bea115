// What was read of the prompts: { first, second }; null before anything was read.

export const readings = { first: null, second: null };
