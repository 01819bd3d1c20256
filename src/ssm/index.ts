import { query, type Operation } from '../ec2/operation.ts'
import { getParameter, getParameters, getParametersByPath } from './get-parameters.ts'

/** The operations of Systems Manager that are there, by the name that calls use. */
export const operations: Record<string, Operation> = {
  GetParameter: query(getParameter),
  GetParameters: query(getParameters),
  GetParametersByPath: query(getParametersByPath),
}
