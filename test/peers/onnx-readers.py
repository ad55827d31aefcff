"""What ONNX and onnxruntime-genai make of a directory that exportOnnx wrote: one JSON object on the last line.

usage: onnx-readers.py DIRECTORY MODEL_FILE PROMPT NEW_TOKENS      (needs onnx, onnxruntime-genai)
"""
import json, sys

import onnx
import onnxruntime_genai as genai

directory, model_file, prompt, new_tokens = sys.argv[1:5]

# Raises where a node of a standard operator is wrong, or shapes do not fit.
onnx.checker.check_model(model_file, full_check=True)
model = onnx.load(model_file, load_external_data=False)

decoder = genai.Model(directory)
tokenizer = genai.Tokenizer(decoder)
parameters = genai.GeneratorParams(decoder)
tokens = [int(token) for token in tokenizer.encode(prompt)]
parameters.set_search_options(max_length=len(tokens) + int(new_tokens), do_sample=False)
generator = genai.Generator(decoder, parameters)
generator.append_tokens([tokens])
while not generator.is_done():
    generator.generate_next_token()

print(json.dumps({
    "opsets": {entry.domain: entry.version for entry in model.opset_import},
    "operators": sorted({node.op_type for node in model.graph.node if node.domain == "com.microsoft"}),
    "prompt": tokens,
    "tokens": [int(token) for token in generator.get_sequence(0)],
}))
