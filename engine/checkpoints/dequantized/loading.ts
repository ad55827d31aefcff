/** What a dequantized checkpoint is, and who can load it. @param dtype null: of each tensor, that of the source. */
export function loading(dtype: 'F32' | null): string {
  const rounding = dtype
    ? 'in float32, exactly'
    : "rounded to the source's dtype (relative error up to 2⁻⁹ in bfloat16, 2⁻¹² in float16; `dequantized-float32` has them exactly)";
  return [
    `**This is not a smaller model.** Its weights are those that the quantized ones stand for, ${rounding}: for evaluation, and for whatever cannot load codes. The files of the other formats are the quantized model.`,
    'It loads like the source, without any library for quantization:\n\n```python\nfrom transformers import AutoModelForCausalLM\nmodel = AutoModelForCausalLM.from_pretrained("path/to/this/directory")\n```',
  ].join('\n\n');
}
